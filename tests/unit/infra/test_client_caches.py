"""Clients' caches are told what each type is known by."""

from gateway.supergraph import compose
from infra.client_caches import CacheKeys, find_keys, section

SDL = """
extend schema @link(url: "https://specs.apollo.dev/federation/v2.11", import: ["@key"])
type Query { me: User shop: Shop }
type User @key(fields: "id") { id: ID! visits: [Visit!] }
type Shop @key(fields: "country number") { country: String! number: Int! price: Price }
type Visit { id: ID! }
type Price { cents: Int! }
"""


def test_a_type_is_known_by_its_key_or_its_id_or_is_part_of_another() -> None:
    keys = find_keys(compose({"shop": SDL}))

    assert keys == CacheKeys({"Shop": ("country", "number"), "User": ("id",)}, ["Visit"], ["Price"])


def test_both_libraries_are_told_what_they_would_not_guess() -> None:
    text = section(find_keys(compose({"shop": SDL})))

    assert 'Shop: { keyFields: ["country", "number"] },' in text
    assert "Shop: (data) => `${data.country}:${data.number}`," in text
    assert "Price: { keyFields: false }," in text
    assert "Price: () => null," in text
    assert "User: " not in text
