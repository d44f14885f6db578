"""One Raak on one machine: its ports, its folder, its secrets, and the environment they make."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from gateway.access.tokens import private_key
from infra.embedded import secret
from services.chassis.errors import RaakError

SERVICES = ("profile", "decision", "journey", "measurement")
LISTENERS = ("gateway", *SERVICES, "postgres", "nats")
"""Who listens, each on the port after the one before."""


class NoInstance(RaakError):
    """A folder holds no Raak."""

    code = "NO_INSTANCE"


def make_keys(folder: Path, verify_folder: Path | None = None) -> tuple[Path, Path]:
    """The Ed25519 key pair, made if it is not there: (signing.pem, verify.pem).

    Both are in one folder, unless the public half has one of its own.
    """
    signing, verify = folder / "signing.pem", (verify_folder or folder) / "verify.pem"
    if not signing.exists():
        key = Ed25519PrivateKey.generate()
        _write(signing, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), 0o600)
    public = private_key(signing.read_text()).public_key()
    text = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    if not verify.exists() or verify.read_bytes() != text:
        _write(verify, text, 0o644)
    return signing, verify


def _write(path: Path, text: bytes, mode: int) -> None:
    """Write a file that has its name only when it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".new")
    draft.touch(mode)
    draft.write_bytes(text)
    draft.rename(path)


@dataclass(frozen=True, slots=True)
class Instance:
    """Where one embedded Raak lives. `port` is the gateway's; the others follow it."""

    folder: Path
    port: int

    @classmethod
    def found(cls, folder: Path) -> Self:
        """The instance that was last started in a folder."""
        try:
            known = json.loads((folder / "instance.json").read_text())
        except FileNotFoundError:
            raise NoInstance(
                f"There is no Raak in {str(folder)!r}.",
                hint="Start one with `raak up`, or name its folder with --data.",
            ) from None
        return cls(folder, int(known["port"]))

    def remember(self, parent: psutil.Process) -> None:
        """Leave a note of the port and of who runs it, so that other commands find it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        note = {"port": self.port, "pid": parent.pid, "started": parent.create_time()}
        (self.folder / "instance.json").write_text(json.dumps(note) + "\n")

    def is_running(self) -> bool:
        """Whether the process that last started an instance in this folder still lives."""
        try:
            note = json.loads((self.folder / "instance.json").read_text())
            parent = psutil.Process(note["pid"])
            same = bool(parent.create_time() == note["started"])
            return same and parent.status() != psutil.STATUS_ZOMBIE
        except (FileNotFoundError, KeyError, psutil.NoSuchProcess):
            return False

    @property
    def ports(self) -> dict[str, int]:
        """Port of every listener."""
        return {name: self.port + n for n, name in enumerate(LISTENERS)}

    @property
    def url(self) -> str:
        """The gateway's address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def keys(self) -> tuple[Path, Path]:
        """The key pair of this instance's tokens."""
        return make_keys(self.folder / "keys")

    def secret(self, name: str) -> str:
        """A secret of this instance, made at its first use."""
        return secret(self.folder / "secrets" / name)

    @property
    def postgres_url(self) -> str:
        """The embedded PostgreSQL, without a database."""
        return f"postgresql://raak:{self.secret('postgres')}@127.0.0.1:{self.ports['postgres']}"

    @property
    def nats_url(self) -> str:
        """The embedded NATS."""
        return f"nats://raak:{self.secret('nats')}@127.0.0.1:{self.ports['nats']}"

    def environment(self) -> dict[str, str]:
        """The settings of every process of this instance."""
        signing, verify = (str(file.resolve()) for file in self.keys)
        settings = {
            "RAAK_DATABASE_SERVER_URL": self.postgres_url,
            "RAAK_NATS_URL": self.nats_url,
            "RAAK_VERIFY_KEY_FILE": verify,
            "RAAK_GATEWAY_SIGNING_KEY_FILE": signing,
            "RAAK_GATEWAY_WRITE_KEYS": self.secret("write-key"),
            "RAAK_GATEWAY_KEY_SECRET": self.secret("key-secret"),
            "RAAK_GATEWAY_AUDIT_FILE": str((self.folder / "logs" / "audit.jsonl").resolve()),
        }
        for name in ("gateway", *SERVICES):
            settings[f"RAAK_{name.upper()}_PORT"] = str(self.ports[name])
        for name in SERVICES:
            settings[f"RAAK_GATEWAY_{name.upper()}_URL"] = f"http://127.0.0.1:{self.ports[name]}"
        return settings
