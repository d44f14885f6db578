"""Enums that mean the same in every service and in the graph."""

from enum import StrEnum


class Channel(StrEnum):
    """Where a customer is spoken to. Treatments, messages and results are per channel."""

    WEB = "WEB"
    """A web site, in any browser."""
    APP = "APP"
    """The company's own app, while it is open."""
    CALL_CENTRE = "CALL_CENTRE"
    """An agent speaks with the customer, by phone or chat."""
    EMAIL = "EMAIL"
    """An e-mail message."""
    SMS = "SMS"
    """A text message to a phone."""
    PUSH = "PUSH"
    """A notification an app shows while it is closed."""
    PAID_MEDIA = "PAID_MEDIA"
    """Advertisements bought on sites and apps of others."""
    STORE = "STORE"
    """A shop, at the till or a terminal."""


class OutcomeKind(StrEnum):
    """How a customer reacted to a proposition. Any of them implies that it was presented."""

    PRESENTED = "PRESENTED"
    """The customer could see or hear it."""
    CLICKED = "CLICKED"
    """They opened it or asked for more, which is no yes yet."""
    ACCEPTED = "ACCEPTED"
    """They said yes. A success: it raises the propensity."""
    REJECTED = "REJECTED"
    """They said no. Contact policies can let it rest from now on."""
    CONVERTED = "CONVERTED"
    """They did what it was for, such as buying. A success too; believed from servers and staff
    only.
    """
    DISMISSED = "DISMISSED"
    """They closed or skipped it without a yes or no."""


class Role(StrEnum):
    VISITOR = "visitor"
    APP = "app"
    AGENT = "agent"
    MARKETER = "marketer"
    ANALYST = "analyst"
    PRIVACY = "privacy"
    ADMIN = "admin"


class SenderClass(StrEnum):
    """Who sent something, the least trusted first: no lower class replaces a higher one's word."""

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
    """Who said that an identity is a customer's. CLAIM, SERVER and STAFF are proof; the others are
    not.
    """

    WRITE_KEY = "write_key"
    """A page or app, by a key that everybody can read in it."""
    VISITOR = "visitor"
    """A browser, by the token of one customer."""
    APP = "app"
    """An app, by the token of one customer."""
    CLAIM = "claim"
    """A browser, with a token the company's server signed for its visitor."""
    SERVER = "server"
    """A server of the company, by an API key."""
    STAFF = "staff"
    """An employee of the company."""

    @property
    def is_proved(self) -> bool:
        """Whether this is proof of whose an identity is."""
        return self in PROVED_LINKS


PROVED_LINKS = frozenset({LinkSource.CLAIM, LinkSource.SERVER, LinkSource.STAFF})
"""The sources that prove whose an identity is."""

OWN_CUSTOMER_ONLY = frozenset({Role.VISITOR, Role.APP})
"""Roles that act for one customer and reach no other."""
