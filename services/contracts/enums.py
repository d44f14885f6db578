"""Enums that mean the same in every service and in the graph."""

from enum import StrEnum


class Channel(StrEnum):
    WEB = "WEB"
    APP = "APP"
    CALL_CENTRE = "CALL_CENTRE"
    EMAIL = "EMAIL"
    SMS = "SMS"
    PUSH = "PUSH"
    PAID_MEDIA = "PAID_MEDIA"
    STORE = "STORE"


class OutcomeKind(StrEnum):
    PRESENTED = "PRESENTED"
    CLICKED = "CLICKED"
    ACCEPTED = "ACCEPTED"
    REJECTED = "REJECTED"
    CONVERTED = "CONVERTED"
    DISMISSED = "DISMISSED"


class Role(StrEnum):
    VISITOR = "visitor"
    APP = "app"
    AGENT = "agent"
    MARKETER = "marketer"
    ANALYST = "analyst"
    PRIVACY = "privacy"
    ADMIN = "admin"


class SenderClass(StrEnum):
    """The class of a sender, the least trusted first."""

    WRITE_KEY = "write_key"
    """A page or app, by a key that everybody can read in it."""
    VISITOR = "visitor"
    """A browser, by the token of one customer."""
    APP = "app"
    """An app, by the token of one customer."""
    SERVER = "server"
    """A server of the company, by an API key."""
    STAFF = "staff"
    """An employee of the company."""

    @property
    def trust(self) -> int:
        """Higher for a more trusted class."""
        return tuple(SenderClass).index(self)

    @property
    def is_trusted(self) -> bool:
        """Whether a sender of this class may identify customers."""
        return self in TRUSTED_SENDERS


TRUSTED_SENDERS = frozenset({SenderClass.SERVER, SenderClass.STAFF})
"""The classes that may identify customers, and say what an outcome was worth."""


class LinkSource(StrEnum):
    """What linked an identity to a customer: a class of sender, or a signed claim."""

    WRITE_KEY = "write_key"
    VISITOR = "visitor"
    APP = "app"
    CLAIM = "claim"
    """A browser, with a token the company's server signed for its visitor."""
    SERVER = "server"
    STAFF = "staff"

    @property
    def is_proved(self) -> bool:
        """Whether this is proof of whose an identity is."""
        return self in PROVED_LINKS


PROVED_LINKS = frozenset({LinkSource.CLAIM, LinkSource.SERVER, LinkSource.STAFF})
"""The sources that prove whose an identity is."""

OWN_CUSTOMER_ONLY = frozenset({Role.VISITOR, Role.APP})
"""Roles that act for one customer and reach no other."""
