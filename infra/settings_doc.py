"""The tables of settings in docs/operations.md, as `make generate` writes them."""

from pathlib import Path
from typing import Any

from annotated_types import Ge, Gt, Le, Lt
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from infra.marked_section import replace_section
from infra.processes import PROCESS_SETTINGS
from services.chassis.settings import ProcessSettings, ServiceSettings

PAGE = Path(__file__).parents[1] / "docs" / "operations.md"
OWN = {"port", "database_url", "migration_database_url"}
"""What all have, but each its own."""
SIGNS = {Ge: ("≥", "ge"), Gt: (">", "gt"), Le: ("≤", "le"), Lt: ("<", "lt")}


def tables() -> str:
    process, service = set(ProcessSettings.model_fields), set(ServiceSettings.model_fields)
    parts = [
        _table("Every process", "RAAK_", ProcessSettings, OWN),
        _table("Every service", "RAAK_", ServiceSettings, process | OWN),
    ]
    for settings in PROCESS_SETTINGS.values():
        known = (service if issubclass(settings, ServiceSettings) else process) - OWN
        prefix = f"RAAK_{settings.process.upper()}_"
        parts.append(_table(settings.process.capitalize(), prefix, settings, known))
    return "\n\n".join(parts)


def _table(title: str, prefix: str, settings: type[ProcessSettings], without: set[str]) -> str:
    fields = [(name, x) for name, x in settings.model_fields.items() if name not in without]
    rows = [
        f"| `{prefix}{name.upper()}` | {_default(field)} | {_bounds(field)} | {_describe(field)} |"
        for name, field in fields
    ]
    head = ["| variable | default | allowed | what it is |", "| --- | --- | --- | --- |"]
    return "\n".join([f"### {title}", "", *head, *rows])


def _describe(field: FieldInfo) -> str:
    return (field.description or "").replace("<", "&lt;")


def _default(field: FieldInfo) -> str:
    value: Any = field.default
    if value in (None, "", (), PydanticUndefined):
        return "–"
    return f"`{','.join(value) if isinstance(value, tuple) else value}`"


def _bounds(field: FieldInfo) -> str:
    return ", ".join(_bound(rule) for rule in field.metadata if type(rule) in SIGNS) or "–"


def _bound(rule: Any) -> str:
    sign, name = SIGNS[type(rule)]
    return f"{sign} {getattr(rule, name):,}"


def page() -> str:
    return replace_section(PAGE, "settings", tables())
