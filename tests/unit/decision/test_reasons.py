"""What customers read and agents say."""

from typing import Any

import pytest

from tests.unit.decision.factories import decide_for, make_action, make_catalogue, make_input

TRAITS = {"first_name": "Ada", "age": 36}
EVENT = {"name": "saw", "at": None, "properties": {"cd": "X", "name": "x"}}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"reason": "{{ traits.first_name | You }} will like it."}, "Ada will like it."),
        (
            {"reason": "You {{ event.name }} {{ event.cd }} on {{ context.page }}."},
            "You saw X on p.",
        ),
        (
            {
                "context_weights": [
                    {"when": "traits.age > 30", "weight": 5, "because": "you are over thirty"},
                    {"when": "traits.age > 35", "weight": 50, "because": "you turned 36."},
                    {"when": "traits.age > 35", "weight": 90},
                ]
            },
            "Jazz: now, because you turned 36.",
        ),
        ({"kind": "SERVICE_MESSAGE"}, "Jazz: this is good to know for you now."),
        ({"propensity": 0.5}, "Jazz: many customers in this place gladly say yes to it."),
        ({}, "Jazz: it is open to you now and may suit you."),
    ],
)
def test_every_proposition_has_a_sentence_to_say_aloud(fields: dict[str, Any], said: str) -> None:
    shop = make_catalogue(make_action("jazz", **fields), make_action("other", propensity=0.1))

    result = decide_for(
        shop, make_input(limit=9, traits=TRAITS, event=EVENT, context={"page": "p"})
    )

    assert {p.action.key: p.reason for p in result.propositions}["jazz"] == said
