"""Owns actions, policies, decisions with their trace, outcomes and what was learned from them.

Publishes decisions, outcomes, and which series its conditions need.
Listens to customer snapshots and merges, and to the states of journeys: its own read model.
"""
