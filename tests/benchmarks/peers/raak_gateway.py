"""Raak's own gateway over the subgraphs of the comparison, with everything on that guards it."""

import sys
from pathlib import Path

import yaml

from gateway.access.authentication.caller_tokens import issue_token
from gateway.access.authentication.service_tokens import load_private_key
from gateway.app import create
from gateway.settings import GatewaySettings
from infra.instance import make_keys
from services.chassis.server import serve
from services.contracts.enums import Role

ASKED = {
    "Query": ("customer",),
    "Customer": ("id", "name", "offers"),
    "Offer": ("id", "action", "title", "body", "channel", "rank", "propensity", "score"),
}
ROLES = {
    "roles": {"agent": {"scopes": [], "policies": []}},
    "fields": {name: {field: ["agent"] for field in fields} for name, fields in ASKED.items()},
}


def command(folder: Path, port: int, subgraphs: dict[str, int]) -> list[str]:
    """How to start it."""
    arguments = [str(folder), *map(str, (port, subgraphs["profile"], subgraphs["decision"]))]
    return [sys.executable, "-m", "tests.benchmarks.peers.raak_gateway", *arguments]


def headers(folder: Path) -> dict[str, str]:
    """An agent's token."""
    key = make_keys(folder / "keys").tokens
    token = issue_token(load_private_key(key.read_text()), Role.AGENT, "benchmark")
    return {"Authorization": f"Bearer {token}"}


def main(folder: Path, port: int, profile: int, decision: int) -> None:
    """Serve until told to stop.

    One caller asks for everything, over and over, on a machine that is kept busy on purpose: its
    rate, and how long requests may queue, are set high. What they cost is the same.
    """
    keys = make_keys(folder / "keys")
    roles = folder / "roles.yaml"
    roles.write_text(yaml.safe_dump(ROLES))
    settings = GatewaySettings(
        port=port,
        signing_key_file=keys.signing,
        token_signing_key_file=keys.tokens,
        profile_url=f"http://127.0.0.1:{profile}",
        decision_url=f"http://127.0.0.1:{decision}",
        roles_file=roles,
        audit_file=folder / "audit.jsonl",
        rate_per_s=100_000,
        burst=100_000,
        queueing_target_ms=5_000,
        log_level="ERROR",
    )
    sdls = {name: (folder / f"{name}.graphql").read_text() for name in ("profile", "decision")}
    serve(lambda: create(settings, sdls), settings)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
