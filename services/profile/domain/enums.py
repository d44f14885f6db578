"""Provenance and lawful basis of traits and consents."""

from enum import StrEnum


class TraitKind(StrEnum):
    """How a trait came to be: how far it can be relied on."""

    FACTUAL = "FACTUAL"
    """A fact of the company's own records, such as a contract."""
    DECLARED = "DECLARED"
    """What the customer said themselves. All that browsers and apps may say."""
    DERIVED = "DERIVED"
    """Concluded or predicted from other data, such as a score."""


class ContextCategory(StrEnum):
    """What a trait is about: the relation with the company, the person, or the moment."""

    RELATIONAL = "RELATIONAL"
    """Their relation with the company, such as a loyalty tier."""
    PERSONAL = "PERSONAL"
    """The person, wherever they are a customer, such as their age."""
    SITUATIONAL = "SITUATIONAL"
    """The moment they are in, such as a house move."""


class LawfulBasis(StrEnum):
    """The legal ground (GDPR, article 6) a value is stored on, in the letters of Adobe's XDM."""

    CONSENT = "CONSENT"
    """They agreed to it."""
    LI = "LI"
    """Legitimate interest of the company."""
    CT = "CT"
    """Needed for a contract with them."""
    CP = "CP"
    """Compliance: the law demands it."""
    VI = "VI"
    """Vital interest of the customer or somebody else."""
    PI = "PI"
    """Public interest."""


class ConsentStatus(StrEnum):
    """What a customer chose for a purpose. In conditions `consent.<purpose>` is true, false or
    missing by it.
    """

    GIVEN = "GIVEN"
    """They said yes; true in conditions. XDM's y."""
    DENIED = "DENIED"
    """They said no; false in conditions. Counts whoever reports it. XDM's n."""
    PENDING = "PENDING"
    """They were asked and have not answered, as in a double opt-in; missing in conditions. XDM's p.
    """
    UNKNOWN = "UNKNOWN"
    """Nobody knows what they chose; missing in conditions. XDM's u."""
    DEFAULT_GIVEN = "DEFAULT_GIVEN"
    """Never asked, and yes by default; true in conditions. XDM's dy."""
    DEFAULT_DENIED = "DEFAULT_DENIED"
    """Never asked, and no by default; false in conditions. XDM's dn."""


XDM_STATUS = {
    "y": ConsentStatus.GIVEN,
    "n": ConsentStatus.DENIED,
    "p": ConsentStatus.PENDING,
    "u": ConsentStatus.UNKNOWN,
    "dy": ConsentStatus.DEFAULT_GIVEN,
    "dn": ConsentStatus.DEFAULT_DENIED,
}

CONSENT_VALUES: dict[str, bool] = {
    ConsentStatus.GIVEN: True,
    ConsentStatus.DEFAULT_GIVEN: True,
    ConsentStatus.DENIED: False,
    ConsentStatus.DEFAULT_DENIED: False,
}
"""The yes or no that conditions see in a status; the others have no value."""


class IdentityChangeKind(StrEnum):
    """What was decided about identities that two customers were named with."""

    MERGED = "MERGED"
    """Two customers became one."""
    REFUSED = "REFUSED"
    """An identity was claimed for another customer and stayed with its owner."""
