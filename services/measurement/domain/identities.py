"""Identities as measurement keeps them: enough to recognise, too little to read."""

from hashlib import blake2b
from uuid import UUID

from services.contracts.identity import normalise_value


def identity_key(type: str, value: str) -> UUID:
    """A digest of an identity. Measurement only compares identities, it never shows one."""
    text = f"{type}:{normalise_value(type, value)}"
    return UUID(bytes=blake2b(text.encode(), digest_size=16).digest())
