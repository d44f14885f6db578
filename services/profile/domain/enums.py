"""Where what profile keeps came from, and by what right it is kept."""

from enum import StrEnum


class TraitKind(StrEnum):
    """How a trait came to be."""

    FACTUAL = "FACTUAL"
    DECLARED = "DECLARED"
    DERIVED = "DERIVED"


class ContextCategory(StrEnum):
    """What a trait is about: the relation with us, the person, or the moment."""

    RELATIONAL = "RELATIONAL"
    PERSONAL = "PERSONAL"
    SITUATIONAL = "SITUATIONAL"


class LawfulBasis(StrEnum):
    """The ground a value is kept on: XDM's letters, and consent."""

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

DECIDED = {
    ConsentStatus.GIVEN: True,
    ConsentStatus.DEFAULT_GIVEN: True,
    ConsentStatus.DENIED: False,
    ConsentStatus.DEFAULT_DENIED: False,
}
"""What a status comes down to for a decision; those that are left out decide nothing."""


class ChangeKind(StrEnum):
    """What happened to the identities of a customer."""

    MERGED = "MERGED"
    REFUSED = "REFUSED"
