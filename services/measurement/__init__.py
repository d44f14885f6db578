"""Owns what was decided and what became of it: results per action, touchpoints per customer.

Publishes nothing yet.
Listens to decisions, outcomes, messages, recorded events, merges and customer snapshots.
"""
