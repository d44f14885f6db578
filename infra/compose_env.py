"""What a Compose stack needs beside its file: secrets, a file each, and images.

`python -m infra.compose_env` makes the secrets that are missing, in the folder `.secrets`;
`python -m infra.compose_env --pin` writes the images' digests of today into `.env`.

A container is given its own secrets as files, so none is in `docker inspect` or in an environment.
Its user must be able to read them, so they are open to all, in a folder that is open to its owner
only.
"""

import re
import secrets
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from infra.files import write_whole
from infra.processes import PROCESSES
from services.chassis.errors import RaakError

EXAMPLE = Path(__file__).with_name("docker") / "env.example"
FOLDER = Path(".secrets")
SETTINGS_FILES = (Path("raak.env"), Path("raak-gateway.env"))

OWN_SECRETS = (
    *(
        f"{server}_password{of}"
        for server in ("postgres", "nats")
        for of in ("", *(f"_{name}" for name in PROCESSES))
    ),
    "key_secret",
    "write_keys",
    "claim_secrets",
    "grafana_password",
)
"""The secrets that are random: PostgreSQL's superuser, NATS's operator, the role of each process,
and what the gateway and profile keep.
"""

OLDER_NAMES = {
    "key_secret": "RAAK_KEY_SECRET",
    "write_keys": "RAAK_WRITE_KEYS",
    "claim_secrets": "RAAK_CLAIM_SECRETS",
}
"""What `.env` called them when secrets were there; the others by their names in capitals."""

IMAGES = {
    "PYTHON_IMAGE": "python:3.13-slim-bookworm",
    "POSTGRES_IMAGE": "postgres:18",
    "NATS_IMAGE": "nats:2.12-alpine",
    "CADDY_IMAGE": "caddy:2.10",
    "COLLECTOR_IMAGE": "otel/opentelemetry-collector:0.138.0",
    "JAEGER_IMAGE": "jaegertracing/jaeger:2.11.0",
    "PROMETHEUS_IMAGE": "prom/prometheus:v3.5.0",
    "GRAFANA_IMAGE": "grafana/grafana:12.2.0",
}
"""The images we build from and run, by the variables that name them."""


class SettingRepeated(RaakError, code="SETTING_REPEATED"):
    """A file of settings says one of them twice."""


class ImageWithoutDigest(RaakError, code="IMAGE_WITHOUT_DIGEST"):
    """An image cannot be pinned."""


def make_secrets(folder: Path, env_file: Path) -> list[str]:
    """Make the secrets that a folder lacks, or take them over from an older `.env`; gives their
    names. What is made of them (addresses, NATS's passwords) is written anew each time.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    older = _read(env_file)
    new = [name for name in OWN_SECRETS if not (folder / name).exists()]
    for name in new:
        _write(folder / name, older.get(_older_name(name)) or secrets.token_urlsafe(32))
    values = {name: (folder / name).read_text().strip() for name in OWN_SECRETS}
    for name, text in derive(values).items():
        _write(folder / name, text)
    return new


def derive(values: Mapping[str, str]) -> dict[str, str]:
    """What is made of the secrets, by the name of its file."""
    found = {
        "database_server_url": f"postgresql://raak:{values['postgres_password']}@postgres:5432",
        "nats_url": f"nats://raak:{values['nats_password']}@nats:4222",
    }
    for name in PROCESSES:
        database, nats = values[f"postgres_password_{name}"], values[f"nats_password_{name}"]
        role = f"raak_{name}"
        found[f"{name}_database_url"] = f"postgresql://{role}:{database}@postgres:5432/{role}"
        found[f"{name}_nats_url"] = f"nats://{name}:{nats}@nats:4222"
    passwords = [name for name in OWN_SECRETS if name.startswith("nats_")]
    found["nats_passwords.conf"] = "\n".join(f'{n.upper()}: "{values[n]}"' for n in passwords)
    return found


def _older_name(secret: str) -> str:
    return OLDER_NAMES.get(secret, secret.upper())


def _read(env_file: Path) -> dict[str, str]:
    return _variables(env_file.read_text()) if env_file.exists() else {}


def _write(file: Path, text: str) -> None:
    if not file.exists() or file.read_text() != text:
        write_whole(file, text, 0o644)


def pin(path: Path, digest_of: Callable[[str], str]) -> dict[str, str]:
    """Have the file name each image with the digest it has now; gives what it names."""
    pinned = {name: f"{image}@{digest_of(image)}" for name, image in IMAGES.items()}
    before = path.read_text() if path.exists() else ""
    others = re.sub(rf"^({'|'.join(IMAGES)})=.*\n?", "", before, flags=re.M)
    write_whole(path, others.rstrip("\n") + "\n" + _lines(pinned), 0o600)
    return pinned


def pull_digest(image: str) -> str:
    """The digest a registry gives an image now; raises ImageWithoutDigest."""
    pulled = _docker("pull", "--quiet", image)
    names = _docker("image", "inspect", "--format", '{{join .RepoDigests " "}}', image).stdout
    digests = re.findall(r"@(sha256:[0-9a-f]{64})", names)
    if pulled.returncode or not digests:
        raise ImageWithoutDigest(
            f"{image!r} has no digest: {pulled.stderr.strip()[-300:] or 'it was built here'}",
            hint="Only images that come from a registry have one; see that it can be reached.",
        )
    return str(digests[0])


def _docker(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)


def _variables(text: str) -> dict[str, str]:
    return dict(re.findall(r"^(\w+)=(.*)$", text, flags=re.M))


def _lines(variables: Mapping[str, str]) -> str:
    return "".join(f"{name}={value}\n" for name, value in variables.items())


def check_settings(files: Sequence[Path]) -> None:
    """Raise SettingRepeated for a file that says something twice: Compose would take the last."""
    for file in files:
        lines = file.read_text().splitlines() if file.exists() else []
        names = [re.match(r"\s*(\w+)\s*=", line) for line in lines]
        first_lines: dict[str, int] = {}
        for number, found in enumerate(names, 1):
            first = first_lines.setdefault(found[1], number) if found else number
            if found and first != number:
                raise SettingRepeated(
                    f"{file}:{number} sets {found[1]}, which line {first} has set.",
                    hint="Keep the one that is meant.",
                )


def main(arguments: list[str]) -> None:
    try:
        _run(Path(".env"), is_pinning="--pin" in arguments)
    except RaakError as error:
        raise SystemExit(f"{error.code} {error.problem}\n{error.hint}") from None


def _run(env_file: Path, *, is_pinning: bool) -> None:
    check_settings([env_file, *SETTINGS_FILES])
    if is_pinning:
        print(_lines(pin(env_file, pull_digest)), end="")
        return
    if new := make_secrets(FOLDER, env_file):
        print(f"Made {len(new)} secrets in {FOLDER}.")
        if older := sorted(set(map(_older_name, new)) & _read(env_file).keys()):
            print(f"They were taken over from {env_file}: delete {', '.join(older)} there.")


if __name__ == "__main__":
    main(sys.argv[1:])
