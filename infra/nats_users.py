"""The users of NATS: one a process, who may do what the process's own tables say it does.

`make generate` writes what Compose gives to NATS: infra/docker/nats.conf.
"""

import pkgutil
from collections.abc import Collection, Iterator, Mapping
from importlib import import_module
from inspect import isclass
from pathlib import Path
from typing import NamedTuple

from infra.embedded import PINGS, authorization
from infra.processes import PROCESSES, SERVICES
from services import contracts
from services.chassis.streams import DEAD_LETTERS, RETRIES, consumer_name, inbox_prefix, stream_name
from services.contracts.base import Event
from services.contracts.profile import CustomerChanged
from services.decision.handlers import SUBSCRIPTIONS as OF_DECISION
from services.journey.handlers import SUBSCRIPTIONS as OF_JOURNEY
from services.measurement.domain.conversions import Conversions
from services.measurement.handlers import subscriptions as of_measurement
from services.profile.handlers import SUBSCRIPTIONS as OF_PROFILE

CONFIGURATION = Path(__file__).with_name("docker") / "nats.conf"

SUBSCRIPTIONS: Mapping[str, Collection[type[Event]]] = {
    "profile": OF_PROFILE,
    "decision": OF_DECISION,
    "journey": OF_JOURNEY,
    "measurement": of_measurement(Conversions(frozenset(), "EUR")),
}
API = "$JS.API"
PASSWORDS = "../../run/secrets/nats_passwords.conf"
"""Where Compose puts the passwords: NATS takes every path to be below its own file."""


class Permissions(NamedTuple):
    """The subjects a user may publish to and subscribe to; all others are closed to it."""

    publish: list[str]
    subscribe: list[str]


def facts() -> dict[str, list[str]]:
    found: dict[str, set[str]] = {service: set() for service in SERVICES}
    for module in pkgutil.iter_modules(contracts.__path__, f"{contracts.__name__}."):
        for event in vars(import_module(module.name)).values():
            if isclass(event) and issubclass(event, Event) and "fact" in vars(event):
                found[event.service()].add(event.fact)
    return {service: sorted(its_facts) for service, its_facts in found.items()}


def service_permissions(service: str) -> Permissions:
    """A service publishes its facts and dead letters, and consumes what it has handlers for.

    It may create streams it needs and change those it publishes to, but delete or empty none.
    """
    published = facts()[service]
    consumed = sorted(event.fact for event in SUBSCRIPTIONS[service])
    streams = {stream_name(fact) for fact in (*published, *consumed)} | {DEAD_LETTERS, RETRIES}
    publish = [f"raak.{service}.>", f"raak.dead.{service}.>"]
    for stream in sorted(streams):
        publish += [f"{API}.STREAM.CREATE.{stream}", f"{API}.STREAM.INFO.{stream}"]
    for stream in sorted(map(stream_name, published)):
        publish += [
            f"{API}.STREAM.UPDATE.{stream}",
            f"{API}.STREAM.MSG.GET.{stream}",
            f"{API}.CONSUMER.LIST.{stream}",
            f"{API}.CONSUMER.INFO.{stream}.*",
        ]
    for stream, consumer in _consumers(service, consumed):
        publish += [
            f"{API}.CONSUMER.DURABLE.CREATE.{stream}.{consumer}",
            f"{API}.CONSUMER.CREATE.{stream}.{consumer}.>",
            f"{API}.CONSUMER.INFO.{stream}.{consumer}",
            f"{API}.CONSUMER.DELETE.{stream}.{consumer}",
            f"$JS.ACK.{stream}.{consumer}.>",
        ]
    return Permissions(publish, [f"{inbox_prefix(service)}.>"])


def _consumers(service: str, consumed: list[str]) -> Iterator[tuple[str, str]]:
    for fact in consumed:
        name = consumer_name(service, fact)
        yield stream_name(fact), name
        yield RETRIES, f"{name}-retry"


def gateway_permissions() -> Permissions:
    """The gateway publishes nothing: it listens to what happens, and reads the last snapshots."""
    snapshots = f"{API}.DIRECT.GET.{stream_name(CustomerChanged.fact)}.{CustomerChanged.type()}.*"
    any_fact = "raak.*.*.*.*"  # not a dead letter, which has a longer subject
    return Permissions([snapshots], [f"{inbox_prefix('gateway')}.>", any_fact])


def format_users(passwords: Mapping[str, str]) -> list[str]:
    permissions = {service: service_permissions(service) for service in SERVICES}
    permissions["gateway"] = gateway_permissions()
    return [_format_user(name, passwords[name], may) for name, may in permissions.items()]


def _format_user(name: str, password: str, may: Permissions) -> str:
    publish, subscribe = map(_list_subjects, may)
    return (
        f"{{ user: {name}, password: {password}, permissions: {{\n"
        f"        publish: {{ allow: [{publish}] }}\n"
        f"        subscribe: {{ allow: [{subscribe}] }}\n"
        "    } }"
    )


def _list_subjects(subjects: list[str]) -> str:
    lines = (f'\n          "{subject}"' for subject in subjects)
    return "".join(lines) + "\n        "


def configuration() -> str:
    passwords = {name: f"$NATS_PASSWORD_{name.upper()}" for name in PROCESSES}
    return (
        "# Written by `make generate`, from what the services publish and subscribe to.\n"
        f'include "{PASSWORDS}"\n'
        'port: 4222\nhttp: "127.0.0.1:8222"\njetstream { store_dir: "/data" }\n'
        + PINGS
        + authorization("$NATS_PASSWORD", format_users(passwords))
    )
