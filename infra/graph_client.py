"""A caller of the public graph: what the command line and the demo send, and how errors read."""

from typing import Any

import httpx

from services.chassis.errors import RaakError


class Refused(RaakError, code="REFUSED"):
    """The graph answered with errors and without what was asked."""

    def __init__(self, errors: list[dict[str, Any]]) -> None:
        self.errors = errors
        first = errors[0]
        extensions = first.get("extensions") or {}
        super().__init__(str(first["message"]), hint=str(extensions.get("hint", "")))


class GatewayUnreachable(RaakError, code="NOT_REACHED"):
    """Nothing answers at the gateway's address."""


class GraphClient:
    def __init__(self, url: str, token: str, timeout_s: float = 30) -> None:
        self._url = f"{url}/graphql"
        self._headers = {"Authorization": f"Bearer {token}"}
        self._timeout_s = timeout_s

    def answer(self, query: str, **variables: Any) -> dict[str, Any]:
        """The whole answer: `data`, and `errors` if there are any. Raises GatewayUnreachable."""
        try:
            response = httpx.post(
                self._url,
                json={"query": query, "variables": variables},
                headers=self._headers,
                timeout=self._timeout_s,
                trust_env=False,
            )
            answer: dict[str, Any] = response.json()
        except (httpx.TransportError, ValueError) as error:
            raise GatewayUnreachable(
                f"No answer from {self._url} ({type(error).__name__}).",
                hint="Is Raak up? Start it with `raak up`, or give --url.",
            ) from None
        return answer

    def data(self, query: str, **variables: Any) -> dict[str, Any]:
        """What was asked; raises Refused when there are errors."""
        answer = self.answer(query, **variables)
        if answer.get("errors"):
            raise Refused(answer["errors"])
        data: dict[str, Any] = answer["data"]
        return data
