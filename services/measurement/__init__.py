"""Owns the results of decisions per action, and the touchpoints of each customer.

Publishes nothing yet.
Listens to decisions, outcomes, messages, recorded events, merges and customer snapshots.
"""
