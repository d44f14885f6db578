"""Profile owns customers: identities and merges, traits, consents, events, features and segments.

It publishes every recorded event, the whole snapshot of a customer whenever it changes, and merges.
It listens to outcomes, which are events of a customer too, and to the series other services need.
"""
