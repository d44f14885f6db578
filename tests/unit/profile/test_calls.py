"""A call that is set aside comes back as it was."""

from datetime import UTC, datetime
from uuid import UUID

from services.contracts.enums import LinkSource, SenderClass
from services.contracts.profile import EventSetAside
from services.profile.domain.calls import Call, ConsentChoice, Provenance, dump_call, load_call
from services.profile.domain.enums import ConsentStatus, ContextCategory, LawfulBasis, TraitKind
from services.profile.domain.identities import Identity

NOW = datetime(2026, 11, 22, 9, 0, 0, 123456, tzinfo=UTC)
PLAIN = Call(
    kind="track",
    name="product_viewed",
    sender=SenderClass.SERVER,
    event_id=UUID(int=1),
    message_id="m-1",
    occurred_at=NOW,
    received_at=NOW,
    properties={"price": 1.0, "number": 2**53 + 1, "at": "2026-11-22T09:00:00Z", "none": None},
    context={"page": {"path": "/"}, "flags": [True, 1]},
    identities=(),
)
FULL = PLAIN._replace(
    kind="alias",
    sender=SenderClass.WRITE_KEY,
    identities=(Identity("user_id", "42"), Identity("anonymous_id", "a")),
    customer=UUID(int=2),
    traits={"age": 40, "tags": ["x"]},
    provenance=Provenance(TraitKind.DERIVED, ContextCategory.PERSONAL, "crm", LawfulBasis.CONSENT),
    consents={"email": ConsentChoice(ConsentStatus.DENIED, "web", LawfulBasis.CONSENT)},
    previous="a",
    claims=(Identity("email", "ann@example.com"),),
    is_proved=False,
    linked_by=LinkSource.CLAIM,
)


def travel(call: Call) -> Call:
    """What comes out of the bus when a call was set aside."""
    sent = EventSetAside(
        event_id=call.event_id, customer_id=None, occurred_at=NOW, call=dump_call(call)
    )
    return load_call(EventSetAside.from_cloudevent(sent.to_cloudevent()).call)


def test_a_call_comes_back_as_it_was_set_aside() -> None:
    defaults = Call._field_defaults
    assert all(getattr(FULL, name) != default for name, default in defaults.items())

    back = travel(FULL)

    assert travel(PLAIN) == PLAIN
    assert back == FULL
    assert repr(back._replace(occurred_at=NOW, received_at=NOW)) == repr(FULL)
