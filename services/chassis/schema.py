"""What the schemas of several services share: enums, money, and references to customers."""

import strawberry

from services.contracts.enums import Channel, LinkSource, OutcomeKind, SenderClass

__all__ = [
    "Channel",
    "CustomerRef",
    "IdentityInput",
    "LinkSource",
    "Money",
    "OutcomeKind",
    "SenderClass",
]

for enum in (Channel, LinkSource, OutcomeKind, SenderClass):
    strawberry.enum(enum)


@strawberry.federation.type(shareable=True)
class Money:
    """An amount of money."""

    cents: int
    """In minor units: 1250 is 12.50 of a currency with two decimals."""
    currency: str
    """ISO 4217, as in `EUR`."""


@strawberry.input
class IdentityInput:
    """What a customer is known by."""

    type: str
    """`user_id`, `crm_id`, `loyalty_id`, `email`, `phone`, `anonymous_id` or `device`."""
    value: str
    """At most 255 characters. Capitals of an e-mail address do not matter."""


@strawberry.input(one_of=True)
class CustomerRef:
    """Who is meant, by exactly one of these. Both or neither is `INVALID_CUSTOMER_REF`."""

    id: strawberry.ID | None = strawberry.UNSET
    """The `id` of a `Customer`; that of an absorbed one leads to the one that remains."""
    identity: IdentityInput | None = strawberry.UNSET
    """Anything the customer is known by. Some callers may name browsers and devices only."""
