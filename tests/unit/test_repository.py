"""What people must remember about this repository, a test remembers."""

import ast
import re
import tomllib
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra import compose_env
from infra.processes import PROCESS_SETTINGS

ROOT = Path(__file__).parents[2]
SERVICES = ("profile", "decision", "journey", "measurement")
CODE = sorted(chain(*(ROOT.glob(f"{top}/**/*.py") for top in ("services", "gateway", "infra"))))
BENCHMARKS = sorted(ROOT.glob("tests/benchmarks/test_*.py"))
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())


def named(path: Path) -> str:
    """A path as a test's id."""
    return str(path.relative_to(ROOT))


# --- layout -----------------------------------------------------------------------------------


@pytest.mark.parametrize("service", SERVICES)
def test_knowing_one_service_is_knowing_four(service: str) -> None:
    folder = ROOT / "services" / service
    nouns = {path.stem for path in folder.iterdir()}

    assert {
        "__init__",
        "__main__",
        "app",
        "settings",
        "domain",
        "tables",
        "store",
        "service",
        "schema",
        "handlers",
        "migrations",
    } <= nouns
    assert (folder / "migrations" / "env.py").exists()


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_says_what_it_owns_publishes_and_listens_to(service: str) -> None:
    said = ast.get_docstring(ast.parse((ROOT / "services" / service / "__init__.py").read_text()))

    assert said
    assert all(re.search(word, said, flags=re.I) for word in ("owns", "publish", "listen")), said


def test_yaml_is_read_in_one_place_only() -> None:
    """Where it is counted and bounded, by the schema of YAML 1.2."""
    readers = {named(path) for path in CODE if re.search("^import yaml", path.read_text(), re.M)}

    assert readers == {"services/chassis/definitions.py", "services/chassis/yaml_core.py"}


def test_no_file_is_called_utils() -> None:
    names = {path.stem for path in CODE}

    assert names.isdisjoint({"utils", "util", "helpers", "common", "misc"})


def test_pure_code_may_import_no_chassis_module_but_errors() -> None:
    chassis = {f"services.chassis.{p.stem}" for p in ROOT.glob("services/chassis/[a-z]*")}
    contracts = PROJECT["tool"]["importlinter"]["contracts"]
    pure = [c for c in contracts if "errors only" in c["name"]]

    assert len(pure) == 3
    for contract in pure:
        named = {m for m in contract["forbidden_modules"] if m.startswith("services.chassis.")}
        assert named == chassis - {"services.chassis.errors"}


# --- code -------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", CODE, ids=named)
def test_catching_everything_is_logged_or_says_why(path: Path) -> None:
    text = path.read_text()
    lines = text.splitlines()
    broad = [
        handler.lineno
        for handler in ast.walk(ast.parse(text))
        if isinstance(handler, ast.ExceptHandler) and _catches_all(handler) and not _tells(handler)
    ]

    assert [line for line in broad if "#" not in lines[line - 1]] == []


def _catches_all(handler: ast.ExceptHandler) -> bool:
    caught = ast.unparse(handler.type) if handler.type else "BaseException"
    return bool(re.search(r"\b(Base)?Exception\b", caught))


def _tells(handler: ast.ExceptHandler) -> bool:
    body = "\n".join(map(ast.unparse, handler.body))
    return bool(re.search(r"^raise$|^log\.(error|critical|warning)\(", body, flags=re.M))


@pytest.mark.parametrize("path", CODE, ids=named)
def test_nothing_is_left_to_do_in_a_comment(path: Path) -> None:
    assert not re.search(r"#.*\b(TODO|FIXME|XXX|HACK)\b", path.read_text())


@pytest.mark.parametrize("path", CODE, ids=named)
def test_a_module_says_what_it_is_for(path: Path) -> None:
    if path.parent.name == "versions" or path.name == "env.py" or not path.read_text().strip():
        return

    assert ast.get_docstring(ast.parse(path.read_text())), f"{named(path)} has no docstring"


@pytest.mark.parametrize("path", BENCHMARKS, ids=named)
def test_what_takes_minutes_to_measure_is_left_to_make_bench(path: Path) -> None:
    tests = [
        node
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
    ]

    assert tests
    for test in tests:
        marks = [ast.unparse(decorator) for decorator in test.decorator_list]
        assert any(mark.startswith("pytest.mark.benchmark") for mark in marks), test.name


# --- settings ---------------------------------------------------------------------------------


def test_every_setting_is_described() -> None:
    undescribed = [
        f"{settings.__name__}.{name}"
        for settings in PROCESS_SETTINGS.values()
        for name, field in settings.model_fields.items()
        if not field.description
    ]

    assert undescribed == []


def test_every_process_is_in_the_page() -> None:
    assert list(PROCESS_SETTINGS) == [*SERVICES, "gateway"]


# --- releases ---------------------------------------------------------------------------------


def test_the_newest_version_of_the_changelog_is_the_projects() -> None:
    changelog = ROOT / "CHANGELOG.md"
    if not changelog.exists():
        pytest.skip("there is no changelog yet")

    newest = re.search(r"^## \[?v?(\d+\.\d+\.\d+)", changelog.read_text(), flags=re.M)

    assert newest
    assert newest[1] == PROJECT["project"]["version"]


def test_the_lock_names_hashes_and_no_addresses() -> None:
    for name in ("requirements.lock", "requirements-dev.lock"):
        text = (ROOT / name).read_text()
        assert "--hash=sha256:" in text
        assert not re.search(r"https?://|--(extra-)?index-url|--find-links", text), name


# --- compose ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_a_container_may_do_nothing_it_need_not(name: str) -> None:
    container = COMPOSE["services"][name]

    assert container["read_only"] is True
    assert container["cap_drop"] == ["ALL"]
    assert container["security_opt"] == ["no-new-privileges:true"]
    assert ("cap_add" in container) == (name == "postgres")
    assert "container_name" not in container


def test_only_the_gateway_is_published_and_on_this_machine_only() -> None:
    """Beside what an operator starts to look at it all."""
    published = {name: c["ports"] for name, c in COMPOSE["services"].items() if "ports" in c}

    assert published.keys() == {"gateway", "prometheus", "grafana"}
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)
    assert COMPOSE["networks"]["inside"] == {"internal": True}
    for name, container in COMPOSE["services"].items():
        networks = ["inside", "outside"] if name in published else ["inside"]
        assert container["networks"] == networks


def test_only_the_gateway_can_read_the_key_that_signs() -> None:
    def reads(name: str) -> set[str]:
        mounted = COMPOSE["services"][name].get("volumes", [])
        return {volume.partition(":")[0] for volume in mounted if volume.endswith(":ro")}

    assert reads("gateway") == {"signing-key", "${RAAK_CONFIG_FOLDER"}
    assert all(reads(service) == {"verify-key"} for service in SERVICES)
    written = {
        name
        for name in COMPOSE["services"]
        if "signing-key:/signing"
        in str([v for v in COMPOSE["services"][name].get("volumes", []) if not v.endswith(":ro")])
    }
    assert written == {"keys"}


def test_every_variable_of_a_container_is_a_setting_of_its_process() -> None:
    for settings in PROCESS_SETTINGS.values():
        given = COMPOSE["services"][settings.process]["environment"]
        own, shared = f"RAAK_{settings.process.upper()}_", "RAAK_"
        fields = {name.upper() for name in settings.model_fields}
        for variable in given:
            assert variable.removeprefix(own).removeprefix(shared) in fields, variable


def secrets_of(part: object) -> set[str]:
    """The secrets that a part of the Compose file is given."""
    return set(re.findall(r"\$\{(\w+):\?", yaml.safe_dump(part, width=10_000)))


def test_every_container_is_given_its_own_secrets_only() -> None:
    known = {name: secrets_of(container) for name, container in COMPOSE["services"].items()}
    processes = (*SERVICES, "gateway")
    of_postgres = {f"POSTGRES_PASSWORD_{name.upper()}" for name in processes}
    of_nats = {f"NATS_PASSWORD_{name.upper()}" for name in processes}

    further = {
        "gateway": {"RAAK_KEY_SECRET", "RAAK_WRITE_KEYS"},
        "profile": {"RAAK_CLAIM_SECRETS"},
    }
    for name in processes:
        own = {f"POSTGRES_PASSWORD_{name.upper()}", f"NATS_PASSWORD_{name.upper()}"}
        assert known.pop(name) == own | further.get(name, set())
    assert known == {
        "postgres": {"POSTGRES_PASSWORD"},
        "nats": {"NATS_PASSWORD", *of_nats},
        "keys": set(),
        "migrate": {"POSTGRES_PASSWORD", *of_postgres},
        "operator": {"POSTGRES_PASSWORD", "NATS_PASSWORD", *of_postgres},
        "grafana": {"GRAFANA_PASSWORD"},
        "collector": set(),
        "jaeger": set(),
        "prometheus": set(),
        "backup": {"POSTGRES_PASSWORD", *of_postgres, *set().union(*further.values())},
    }


def test_no_secret_is_in_an_argument_of_a_container() -> None:
    for name, container in COMPOSE["services"].items():
        said = [container.get(key) for key in ("command", "entrypoint", "healthcheck", "build")]
        assert secrets_of(said) == set(), name


def test_every_process_reads_the_settings_files_and_the_gateway_alone_its_own() -> None:
    everybody, gateways = "${RAAK_ENV_FILE:-raak.env}", "${RAAK_GATEWAY_ENV_FILE:-raak-gateway.env}"

    for name in ("keys", "migrate", *SERVICES, "gateway", "operator", "backup"):
        files = COMPOSE["services"][name]["env_file"]
        assert [file["path"] for file in files] == [everybody, gateways][: 1 + (name == "gateway")]
        assert not any(file["required"] for file in files)


def test_nothing_of_ours_stands_before_what_the_settings_files_say() -> None:
    fixed = {"RAAK_MODE", "RAAK_HOST", "RAAK_PORT", "RAAK_METRICS_PORT", "RAAK_VERIFY_KEY_FILE"}
    gateways = {"SIGNING_KEY_FILE", "TOKEN_SIGNING_KEY_FILE", "KEY_SECRET", "WRITE_KEYS"}
    fixed |= {f"RAAK_GATEWAY_{name}" for name in gateways} | {"RAAK_PROFILE_CLAIM_SECRETS"}
    fixed |= {f"RAAK_GATEWAY_{service.upper()}_URL" for service in SERVICES}

    for name in (*SERVICES, "gateway"):
        own = {f"RAAK_{name.upper()}_DATABASE_URL", f"RAAK_{name.upper()}_NATS_URL"}
        assert set(COMPOSE["services"][name]["environment"]) - fixed == own


def test_images_are_variables_that_can_be_pinned() -> None:
    text = (ROOT / "docker-compose.yml").read_text()

    assert dict(re.findall(r"\$\{(\w+_IMAGE):-([^}]+)\}", text)) == compose_env.IMAGES
    assert (
        f"ARG PYTHON_IMAGE={compose_env.IMAGES['PYTHON_IMAGE']}\n"
        in (ROOT / "infra" / "docker" / "Dockerfile").read_text()
    )


def test_compose_has_no_secret_of_its_own_and_the_example_asks_for_all() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    example = compose_env.EXAMPLE.read_text()
    wanted = set(re.findall(r"\$\{(\w+):\?", text))
    optional = set(re.findall(r"\$\{(\w+):-", text))

    assert wanted == set(re.findall(r"^(\w+)=$", example, flags=re.M))
    assert optional <= set(re.findall(r"^#(\w+)=", example, flags=re.M))
    assert not [name for name in optional if re.search("PASSWORD|SECRET|WRITE_KEY", name)]


def test_an_environment_file_is_made_once_with_secrets_that_differ(tmp_path: Path) -> None:
    path = tmp_path / ".env"

    assert compose_env.write(path)
    first = path.read_text()
    assert not compose_env.write(path)

    assert path.read_text() == first
    assert path.stat().st_mode & 0o777 == 0o600
    secrets = re.findall(r"^\w+=(.+)$", first, flags=re.M)
    assert len(secrets) == len(set(secrets)) == 16
    assert all(re.fullmatch(r"[\w-]{40,}", secret) for secret in secrets)


def test_an_environment_file_gets_what_it_lacks_and_keeps_the_rest(
    tmp_path: Path,
) -> None:
    path = tmp_path / ".env"
    older = "POSTGRES_PASSWORD=p\nNATS_PASSWORD=n\nRAAK_KEY_SECRET=k\nRAAK_WRITE_KEYS=w\n"
    path.write_text(older + "RAAK_CORS_ORIGINS=https://shop.example")

    new = compose_env.write(path)

    text = path.read_text()
    assert text.startswith(older + "RAAK_CORS_ORIGINS=https://shop.example\n")
    assert len(new) == 12
    assert "NATS_PASSWORD_GATEWAY" in new
    assert path.stat().st_mode & 0o777 == 0o600
    assert compose_env.write(path) == []


def test_images_are_pinned_to_the_digests_they_have_now(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("POSTGRES_PASSWORD=p\nNATS_IMAGE=nats:2.12@sha256:old\n")

    compose_env.pin(path, lambda image: f"sha256:{image[0] * 64}")

    pinned = [f"{n}={image}@sha256:{image[0] * 64}" for n, image in compose_env.IMAGES.items()]
    assert path.read_text() == "\n".join(["POSTGRES_PASSWORD=p", *pinned, ""])


def test_the_dockerfile_needs_nothing_the_classic_builder_lacks() -> None:
    text = (ROOT / "infra" / "docker" / "Dockerfile").read_text()

    assert "# syntax=" not in text
    assert "RUN --mount" not in text
    assert "--require-hashes" in text
    assert re.search(r"^USER \d+", text, flags=re.M)
