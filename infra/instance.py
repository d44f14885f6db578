"""One Raak on one machine: its ports, its folder, its secrets, and the environment they make."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import psutil
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from gateway.access.authentication.service_tokens import load_private_key
from infra.embedded import secret
from infra.files import write_whole
from infra.processes import PROCESS_SETTINGS, PROCESSES, SERVICES
from services.chassis.errors import RaakError

LISTENERS = ("gateway", *SERVICES, "postgres", "nats")
"""Who listens, each on the port after the one before."""
NOTE = "instance.json"
NOT_INHERITED = {"database_server_url", "migration_database_url"}
"""They would be of another server, and each process has an address of its own."""


class NoInstance(RaakError, code="NO_INSTANCE"):
    """A folder holds no Raak."""


class Keys(NamedTuple):
    """The files of the keys: what signs internal tokens, what checks them, what signs callers'."""

    signing: Path
    verify: Path
    tokens: Path


def make_keys(folder: Path, verify_folder: Path | None = None) -> Keys:
    """The Ed25519 keys, made if missing."""
    signing, verify = folder / "signing.pem", (verify_folder or folder) / "verify.pem"
    tokens = folder / "tokens.pem"
    for private in (signing, tokens):
        if not private.exists():
            _write_private_key(private)
    public = load_private_key(signing.read_text()).public_key()
    text = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    if not verify.exists() or verify.read_text() != text:
        write_whole(verify, text, 0o644)
    return Keys(signing, verify, tokens)


def _write_private_key(file: Path) -> None:
    key = Ed25519PrivateKey.generate()
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    write_whole(file, text.decode(), 0o600)


def _read_note(folder: Path) -> dict[str, Any]:
    """The note of the process that last started an instance here; raises NoInstance."""
    try:
        note: dict[str, Any] = json.loads((folder / NOTE).read_text())
    except (FileNotFoundError, ValueError):  # a file cut off by a full disk is none
        raise NoInstance(
            f"There is no Raak in {str(folder)!r}.",
            hint="Start one with `raak up`, or name its folder with --data.",
        ) from None
    return note


DEFAULTS: Mapping[str, Mapping[str, str]] = {
    "gateway": {"RAAK_EXPLORER_TOKEN_NETWORKS": "127.0.0.0/8,::1/128"}
}
"""What a process is set to here and nowhere else, unless its variable says otherwise."""


@dataclass(frozen=True, slots=True)
class EmbeddedInstance:
    """Where one embedded Raak lives. `port` is the gateway's; the others follow it."""

    folder: Path
    port: int

    @classmethod
    def load(cls, folder: Path) -> Self:
        return cls(folder, int(_read_note(folder)["port"]))

    def write_note(self, parent: psutil.Process) -> None:
        note = {"port": self.port, "pid": parent.pid, "started": parent.create_time()}
        write_whole(self.folder / NOTE, json.dumps(note) + "\n", 0o644)

    def is_running(self) -> bool:
        try:
            note = _read_note(self.folder)
            parent = psutil.Process(note["pid"])
            same = bool(parent.create_time() == note["started"])
            return same and parent.status() != psutil.STATUS_ZOMBIE
        except (NoInstance, KeyError, psutil.NoSuchProcess):
            return False

    @property
    def ports(self) -> dict[str, int]:
        return {name: self.port + n for n, name in enumerate(LISTENERS)}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def keys(self) -> Keys:
        return make_keys(self.folder / "keys")

    def secret(self, name: str) -> str:
        return secret(self.folder / "secrets" / name)

    @property
    def postgres_url(self) -> str:
        return self._url("postgresql", "raak", "postgres", self.secret("postgres"))

    @property
    def database_urls(self) -> dict[str, str]:
        return {
            name: self._url("postgresql", f"raak_{name}", "postgres", password) + f"/raak_{name}"
            for name, password in self._passwords("postgres").items()
        }

    @property
    def nats_url(self) -> str:
        """The embedded NATS as an operator comes to it, who may do everything."""
        return self._url("nats", "raak", "nats", self.secret("nats"))

    @property
    def nats_passwords(self) -> dict[str, str]:
        return self._passwords("nats")

    def _passwords(self, server: str) -> dict[str, str]:
        return {name: self.secret(f"{server}-{name}") for name in PROCESSES}

    def _url(self, scheme: str, user: str, server: str, password: str) -> str:
        return f"{scheme}://{user}:{password}@127.0.0.1:{self.ports[server]}"

    def environment(self, process: str, outer: Mapping[str, str]) -> dict[str, str]:
        """The settings of one process: those of `outer` that it knows, and its own secrets."""
        name = process.upper()
        own = {
            f"RAAK_{prefix}{field.upper()}"
            for field in PROCESS_SETTINGS[process].model_fields.keys() - NOT_INHERITED
            for prefix in ("", f"{name}_")
        }
        user = self._url("nats", process, "nats", self.nats_passwords[process])
        return {
            **DEFAULTS.get(process, {}),
            **{variable: value for variable, value in outer.items() if variable in own},
            f"RAAK_{name}_DATABASE_URL": self.database_urls[process],
            f"RAAK_{name}_NATS_URL": user,
            f"RAAK_{name}_PORT": str(self.ports[process]),
            **(
                self._gateway_environment()
                if process == "gateway"
                else self._service_environment(process)
            ),
        }

    def _service_environment(self, service: str) -> dict[str, str]:
        environment = {"RAAK_VERIFY_KEY_FILE": str(self.keys.verify.resolve())}
        if service == "profile":
            environment["RAAK_PROFILE_CLAIM_SECRETS"] = self.secret("claim-secret")
        return environment

    def _gateway_environment(self) -> dict[str, str]:
        return {
            "RAAK_GATEWAY_SIGNING_KEY_FILE": str(self.keys.signing.resolve()),
            "RAAK_GATEWAY_TOKEN_SIGNING_KEY_FILE": str(self.keys.tokens.resolve()),
            "RAAK_GATEWAY_WRITE_KEYS": self.secret("write-key"),
            "RAAK_GATEWAY_KEY_SECRET": self.secret("key-secret"),
            "RAAK_GATEWAY_AUDIT_FILE": str((self.folder / "logs" / "audit.jsonl").resolve()),
            **{
                f"RAAK_GATEWAY_{name.upper()}_URL": f"http://127.0.0.1:{self.ports[name]}"
                for name in SERVICES
            },
        }
