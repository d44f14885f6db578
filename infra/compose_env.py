"""The secrets of a Compose stack: `python -m infra.compose_env` writes .env if there is none."""

import os
import re
import secrets
import sys
from pathlib import Path

EXAMPLE = Path(__file__).with_name("docker") / "env.example"


def filled(example: str) -> str:
    """The example with a random secret wherever it asks for one."""
    return re.sub(
        r"^(\w+)=$", lambda wanted: f"{wanted[1]}={secrets.token_urlsafe(32)}", example, flags=re.M
    )


def write(path: Path) -> bool:
    """Write the file, readable to its owner only; False if it is there already."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "w") as file:
        file.write(filled(EXAMPLE.read_text()))
    return True


if __name__ == "__main__":
    target = Path(sys.argv[1] if len(sys.argv) > 1 else ".env")
    if write(target):
        print(f"Wrote {target} with new secrets.")
