"""Provenance and lawful basis of traits and consents."""

from enum import StrEnum


class TraitKind(StrEnum):
    """How a trait came to be."""

    FACTUAL = "FACTUAL"
    DECLARED = "DECLARED"
    DERIVED = "DERIVED"


class ContextCategory(StrEnum):
    """What a trait is about: the relation with the company, the person, or the moment."""

    RELATIONAL = "RELATIONAL"
    PERSONAL = "PERSONAL"
    SITUATIONAL = "SITUATIONAL"


class LawfulBasis(StrEnum):
    """The legal ground on which a value is stored: XDM's letters, and consent."""

    CONSENT = "CONSENT"
    LI = "LI"
    CT = "CT"
    CP = "CP"
    VI = "VI"
    PI = "PI"


class ConsentStatus(StrEnum):
    """XDM's consent values `y n p u dy dn`, spelled out."""

    GIVEN = "GIVEN"
    DENIED = "DENIED"
    PENDING = "PENDING"
    UNKNOWN = "UNKNOWN"
    DEFAULT_GIVEN = "DEFAULT_GIVEN"
    DEFAULT_DENIED = "DEFAULT_DENIED"


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
    """What happened to the identities of a customer."""

    MERGED = "MERGED"
    REFUSED = "REFUSED"
