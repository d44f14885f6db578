"""What a Compose stack needs in .env: `python -m infra.compose_env` makes the secrets it lacks, and
`python -m infra.compose_env --pin` pins the images it is built from.
"""

import re
import secrets
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from infra.files import write_whole
from services.chassis.errors import RaakError

EXAMPLE = Path(__file__).with_name("docker") / "env.example"

IMAGES = {
    "PYTHON_IMAGE": "python:3.11-slim-bookworm",
    "POSTGRES_IMAGE": "postgres:18",
    "NATS_IMAGE": "nats:2.12",
    "COLLECTOR_IMAGE": "otel/opentelemetry-collector:0.138.0",
    "JAEGER_IMAGE": "jaegertracing/jaeger:2.11.0",
    "PROMETHEUS_IMAGE": "prom/prometheus:v3.5.0",
    "GRAFANA_IMAGE": "grafana/grafana:12.2.0",
}
"""The images we build from and run, by the variables that name them."""


class ImageWithoutDigest(RaakError, code="IMAGE_WITHOUT_DIGEST"):
    """An image cannot be pinned."""


def fill_secrets(example: str) -> str:
    """The example with a random secret wherever it asks for one."""
    return re.sub(
        r"^(\w+)=$", lambda wanted: f"{wanted[1]}={secrets.token_urlsafe(32)}", example, flags=re.M
    )


def write(path: Path) -> list[str]:
    """Make the file, readable to its owner only, or add what it lacks; the secrets that are new."""
    before = path.read_text() if path.exists() else None
    wanted = fill_secrets(EXAMPLE.read_text())
    known = _variables(before or "")
    new = {name: value for name, value in _variables(wanted).items() if name not in known}
    if before is None:
        write_whole(path, wanted, 0o600)
    elif new:
        write_whole(path, before.rstrip("\n") + "\n" + _lines(new), 0o600)
    return list(new)


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


def main(arguments: list[str]) -> None:
    path = Path(next((one for one in arguments if one != "--pin"), ".env"))
    if "--pin" in arguments:
        try:
            pinned = pin(path, pull_digest)
        except RaakError as error:
            raise SystemExit(f"{error.code} {error.problem}\n{error.hint}") from None
        print(_lines(pinned), end="")
        return
    if new := write(path):
        print(f"Wrote {len(new)} new secrets to {path}.")


if __name__ == "__main__":
    main(sys.argv[1:])
