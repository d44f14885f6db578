"""The SDL files the gateway composes: written from the services' code, and checked against it."""

from importlib import import_module
from pathlib import Path

from infra.instance import SERVICES

SUBGRAPHS = Path(__file__).parents[1] / "gateway" / "subgraphs"


def written_anew(service: str) -> str:
    """A service's SDL, as its code says it now."""
    module = import_module(f"services.{service}.schema")
    return f"{module.schema.as_str()}\n"


def write_all() -> list[str]:
    """Write every service's SDL; says which changed."""
    SUBGRAPHS.mkdir(exist_ok=True)
    changed = stale()
    for service in changed:
        (SUBGRAPHS / f"{service}.graphql").write_text(written_anew(service))
    return changed


def stale() -> list[str]:
    """The services whose committed SDL is not what their code says."""
    return [service for service in SERVICES if _committed(service) != written_anew(service)]


def _committed(service: str) -> str:
    path = SUBGRAPHS / f"{service}.graphql"
    return path.read_text() if path.exists() else ""
