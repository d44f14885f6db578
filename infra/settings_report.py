"""`raak settings`: what each process would run with, and where each value comes from."""

import os
from collections.abc import Iterator
from typing import NamedTuple

from pydantic.fields import FieldInfo

from infra.processes import PROCESS_SETTINGS
from services.chassis.settings import ProcessSettings

HIDDEN = "•••"
DEFAULT = "default"


class SettingRow(NamedTuple):
    """A setting that holds; `source` is its variable, or `default`."""

    process: str
    name: str
    value: str
    source: str


def list_settings(*, with_defaults: bool) -> Iterator[SettingRow]:
    """The settings of all processes by this environment; raises InvalidSettings."""
    for process, kind in PROCESS_SETTINGS.items():
        settings = kind()
        for name, field in kind.model_fields.items():
            source = _find_source(kind, name)
            if with_defaults or source != DEFAULT:
                yield SettingRow(process, name, _show(getattr(settings, name), field), source)


def _find_source(kind: type[ProcessSettings], name: str) -> str:
    variables = (one for each in kind.variables(name) for one in (each, f"{each}_FILE"))
    return next((one for one in variables if one in os.environ), DEFAULT)


def _show(value: object, field: FieldInfo) -> str:
    if value and not field.repr:
        return HIDDEN
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
