"""Errors are told in the client's own terms, and what they are about is not looked for twice."""

from typing import Any

import orjson
import pytest

from gateway.supergraph import SubgraphResponse, compose, execute, plan_document
from gateway.supergraph.planner.fetch_nodes import JSON, QueryPath
from tests.unit.gateway.supergraph import shop


class Lost(shop.InProcess):
    """Services of which one finds none of the entities it is asked for."""

    async def fetch(
        self, subgraph: str, body: bytes, *args: Any, **options: Any
    ) -> SubgraphResponse:
        if subgraph != "offers":
            return await super().fetch(subgraph, body, *args, **options)
        representations = orjson.loads(body)["variables"]["representations0"]
        errors = [
            {"message": "lost", "path": ["_entities", n]} for n in range(len(representations))
        ]
        data = {"_entities": [None] * len(representations)}
        return SubgraphResponse(200, orjson.dumps({"data": data, "errors": errors}))


async def test_the_objects_that_errors_are_about_are_looked_for_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked: list[QueryPath] = []
    find = QueryPath.find_with_paths

    def noted(place: QueryPath, data: JSON) -> Any:
        looked.append(place)
        return find(place, data)

    monkeypatch.setattr(QueryPath, "find_with_paths", noted)
    planned = plan_document(compose(shop.SDLS), "{ customers { offers { id } } }")

    answer = await execute(planned, None, Lost())

    assert [error["path"] for error in answer["errors"]] == [["customers", n] for n in range(3)]
    assert len(looked) == 1
