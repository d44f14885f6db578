"""Owns journeys: definitions, instances, their timers and the messages they send.

Publishes every step entered, every end, every message due, and the histories its conditions need.
Listens to recorded events, outcomes, customer snapshots and merges.
"""
