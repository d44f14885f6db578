"""The client for pages: what it sends is what the graph answers, and it is as small as it says."""

import gzip
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from examples.shop.__main__ import MANIFEST
from gateway.settings import GatewaySettings
from infra.operations import check_documents

ROOT = Path(__file__).parents[2]
CLIENT = ROOT / "clients" / "typescript"
SHOP = ROOT / "examples" / "shop"
NOW = datetime(2026, 12, 1, tzinfo=UTC)
LARGEST_CORE_BYTES = 4_500
PATIENCE_S = 300


def needs_packages(folder: Path) -> pytest.MarkDecorator:
    return pytest.mark.skipif(
        not (shutil.which("node") and (folder / "node_modules").exists()),
        reason=f"no Node, or no `npm install` in {folder.relative_to(ROOT)}: it was not tested",
    )


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command, cwd=folder, capture_output=True, timeout=PATIENCE_S)


def read_report(done: subprocess.CompletedProcess[bytes]) -> str:
    return (done.stdout + done.stderr).decode()


def test_the_graph_answers_what_the_client_sends() -> None:
    documents = check_documents(GatewaySettings(), [MANIFEST], NOW)

    names = {document.text.split("(")[0] for document in documents}
    assert names >= {
        "query Offers",
        "subscription OfferChanges",
        "mutation RecordOutcome",
        "mutation SetConsent",
    }


@needs_packages(CLIENT)
@pytest.mark.parametrize(
    "command",
    [
        ("npx", "graphql-codegen", "--config", "codegen.ts", "--check"),
        ("npm", "run", "check"),
        ("npm", "test"),
    ],
    ids=["it is generated from the schema of today", "its types hold", "its own tests pass"],
)
def test_the_client_is_sound(command: tuple[str, ...]) -> None:
    done = run(CLIENT, *command)

    assert done.returncode == 0, read_report(done)


@needs_packages(CLIENT)
def test_the_client_stays_small() -> None:
    options = ("--bundle", "--minify", "--format=esm", "--target=es2022")
    done = run(CLIENT, "npx", "esbuild", "src/index.ts", *options)

    assert done.returncode == 0, read_report(done)
    assert len(gzip.compress(done.stdout)) <= LARGEST_CORE_BYTES


@needs_packages(SHOP / "source")
def test_the_page_of_the_shop_is_built_from_its_sources(tmp_path: Path) -> None:
    types = run(SHOP / "source", "npm", "run", "check")
    built = run(SHOP / "source", "node", "build.mjs", str(tmp_path))

    assert types.returncode == 0, read_report(types)
    assert built.returncode == 0, read_report(built)
    for file in tmp_path.iterdir():
        assert (SHOP / "page" / file.name).read_bytes() == file.read_bytes(), file.name
