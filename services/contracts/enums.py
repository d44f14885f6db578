"""Enums that mean the same in every service and in the graph."""

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


class SenderClass(StrEnum):
    """By whose word something is known, the least believed first."""

    WRITE_KEY = "write_key"
    """A page or app, by a key that everybody can read in it."""
    VISITOR = "visitor"
    """A browser, by the token of one customer."""
    APP = "app"
    """An app, by the token of one customer."""
    SERVER = "server"
    """A server of the company's, by an API key."""
    STAFF = "staff"
    """Somebody who works for the company."""

    @property
    def trust(self) -> int:
        """The higher, the more its word weighs."""
        return tuple(SenderClass).index(self)

    @property
    def is_trusted(self) -> bool:
        """Whether it may say who somebody is."""
        return self in TRUSTED_SENDERS


TRUSTED_SENDERS = frozenset({SenderClass.SERVER, SenderClass.STAFF})
"""Whose word is enough for who somebody is, and for what something was worth."""


class LinkSource(StrEnum):
    """By whose word an identity is a customer's: a class of sender, or a signed claim."""

    WRITE_KEY = "write_key"
    VISITOR = "visitor"
    APP = "app"
    CLAIM = "claim"
    """A browser, with a token the company's server signed for its visitor."""
    SERVER = "server"
    STAFF = "staff"

    @property
    def is_proved(self) -> bool:
        """Whether somebody said so who may say who a customer is."""
        return self in PROVED_LINKS


PROVED_LINKS = frozenset({LinkSource.CLAIM, LinkSource.SERVER, LinkSource.STAFF})
"""Whose word is enough for whose an identity is."""

OWN_CUSTOMER_ONLY = frozenset({Role.VISITOR, Role.APP})
"""Roles that speak for one customer and reach no other."""
