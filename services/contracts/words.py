"""Words that mean the same in every service and in the graph."""

from enum import StrEnum


class Channel(StrEnum):
    """Where a customer is spoken to."""

    WEB = "WEB"
    APP = "APP"
    CALL_CENTRE = "CALL_CENTRE"
    EMAIL = "EMAIL"
    SMS = "SMS"
    PUSH = "PUSH"
    PAID_MEDIA = "PAID_MEDIA"
    STORE = "STORE"


class OutcomeKind(StrEnum):
    """What became of a proposition."""

    PRESENTED = "PRESENTED"
    CLICKED = "CLICKED"
    ACCEPTED = "ACCEPTED"
    REJECTED = "REJECTED"
    CONVERTED = "CONVERTED"
    DISMISSED = "DISMISSED"


class Role(StrEnum):
    """What a caller of the graph is allowed as."""

    VISITOR = "visitor"
    APP = "app"
    AGENT = "agent"
    MARKETER = "marketer"
    ANALYST = "analyst"
    PRIVACY = "privacy"
    ADMIN = "admin"


OWN_CUSTOMER_ONLY = frozenset({Role.VISITOR, Role.APP})
"""Roles that speak for one customer and reach no other."""
