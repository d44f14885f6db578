"""What people must remember about this repository, a test remembers."""

import ast
import re
import tomllib
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra import compose_env, nats_users
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
    assert ("cap_add" in container) == (name in ("postgres", "caddy"))
    assert container["init"] is True
    assert container["pids_limit"]
    assert container["mem_limit"]
    assert container["logging"]["options"]["max-size"]
    assert "container_name" not in container


def test_only_the_gateway_is_published_and_on_this_machine_only() -> None:
    """Beside what an operator starts to look at it all."""
    published = {name: c["ports"] for name, c in COMPOSE["services"].items() if "ports" in c}

    assert published.keys() == {"gateway", "caddy", "prometheus", "grafana"}
    here = re.compile(r"(\$\{\w+:-)?127\.0\.0\.1:")
    assert all(here.match(port) for ports in published.values() for port in ports)
    assert COMPOSE["networks"]["inside"] == {"internal": True}
    for name, container in COMPOSE["services"].items():
        goes_out = name in published or name == "gateway-2"  # it asks issuers for their keys
        networks = ["inside", "outside"] if goes_out else ["inside"]
        assert container["networks"] == networks


def test_only_the_gateway_can_read_the_key_that_signs() -> None:
    def reads(name: str) -> set[str]:
        mounted = COMPOSE["services"][name].get("volumes", [])
        return {volume.partition(":")[0] for volume in mounted if volume.endswith(":ro")}

    for gateway in ("gateway", "gateway-2"):
        assert reads(gateway) == {"signing-key", "${RAAK_CONFIG_FOLDER"}
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
        fields |= {f"{n.upper()}_FILE" for n, f in settings.model_fields.items() if not f.repr}
        for variable in given:
            assert variable.removeprefix(own).removeprefix(shared) in fields, variable


DERIVED = compose_env.derive(dict.fromkeys(compose_env.OWN_SECRETS, "s" * 40))


def test_every_container_is_given_its_own_secrets_only() -> None:
    given = {name: set(c.get("secrets", ())) for name, c in COMPOSE["services"].items()}
    processes = (*SERVICES, "gateway")
    of_databases = {f"{name}_database_url" for name in processes} | {"database_server_url"}
    further = {"gateway": {"key_secret", "write_keys"}, "profile": {"claim_secrets"}}

    for name in processes:
        own = {f"{name}_database_url", f"{name}_nats_url"}
        assert given.pop(name) == own | further.get(name, set())
    assert given.pop("gateway-2") == set(COMPOSE["services"]["gateway"]["secrets"])
    assert {name: secrets for name, secrets in given.items() if secrets} == {
        "postgres": {"postgres_password"},
        "nats": {"nats_passwords.conf"},
        "migrate": of_databases,
        "operator": {"nats_url", *of_databases},
        "backup": {*of_databases, *set().union(*further.values())},
        "grafana": {"grafana_password"},
    }


def test_every_secret_is_a_file_that_is_made() -> None:
    files = {name: one["file"].partition("}/")[2] for name, one in COMPOSE["secrets"].items()}

    assert all(name == file for name, file in files.items())
    assert files.keys() <= {*compose_env.OWN_SECRETS, *DERIVED}


def test_a_file_of_a_secret_is_read_by_the_container_that_is_given_it() -> None:
    for name, container in COMPOSE["services"].items():
        said = yaml.safe_dump([container.get("environment"), container.get("command")])
        read = set(re.findall(r"/run/secrets/([\w.]+)", said))
        if name == "nats":
            read = {"nats_passwords.conf"}
            assert nats_users.PASSWORDS.endswith("/run/secrets/nats_passwords.conf")
        assert read == set(container.get("secrets", ())), name


def test_no_container_is_told_a_secret_but_by_a_file() -> None:
    """Neither `docker inspect` nor a list of processes shows one."""
    for name, container in COMPOSE["services"].items():
        told = yaml.safe_dump({key: value for key, value in container.items() if key != "secrets"})
        assert not re.search(r"\$\{\w*(PASSWORD|SECRET(?!S_FOLDER)|KEYS)\b", told), name
        for variable in container.get("environment", ()):
            is_secret = re.search(
                "PASSWORD|SECRET|WRITE_KEYS|DATABASE_URL|SERVER_URL|NATS_URL", variable
            )
            assert not is_secret or variable.endswith("_FILE"), f"{name}: {variable}"


def test_every_process_reads_the_settings_files_and_the_gateway_alone_its_own() -> None:
    everybody, gateways = "${RAAK_ENV_FILE:-raak.env}", "${RAAK_GATEWAY_ENV_FILE:-raak-gateway.env}"

    for name in ("keys", "migrate", *SERVICES, "gateway", "operator", "backup"):
        files = {f["path"]: f["required"] for f in COMPOSE["services"][name]["env_file"]}
        assert files == (
            {"./infra/docker/gateway.env": True, everybody: False, gateways: False}
            if name == "gateway"
            else {everybody: False}
        )
        assert list(files)[-1] == (gateways if name == "gateway" else everybody)


def test_nothing_of_ours_stands_before_what_the_settings_files_say() -> None:
    fixed = {"RAAK_MODE", "RAAK_HOST", "RAAK_PORT", "RAAK_METRICS_PORT", "RAAK_VERIFY_KEY_FILE"}
    gateways = {"SIGNING_KEY_FILE", "TOKEN_SIGNING_KEY_FILE", "KEY_SECRET_FILE", "WRITE_KEYS_FILE"}
    fixed |= {f"RAAK_GATEWAY_{name}" for name in gateways} | {"RAAK_PROFILE_CLAIM_SECRETS_FILE"}
    fixed.add("RAAK_LEAVE_S")  # it needs a proxy to be of use, and harms nobody
    fixed |= {f"RAAK_GATEWAY_{service.upper()}_URL" for service in SERVICES}

    for name in (*SERVICES, "gateway"):
        own = {f"RAAK_{name.upper()}_{which}_URL_FILE" for which in ("DATABASE", "NATS")}
        assert set(COMPOSE["services"][name]["environment"]) - fixed == own


def test_images_are_variables_that_can_be_pinned() -> None:
    text = (ROOT / "docker-compose.yml").read_text()

    assert dict(re.findall(r"\$\{(\w+_IMAGE):-([^}]+)\}", text)) == compose_env.IMAGES
    assert (
        f"ARG PYTHON_IMAGE={compose_env.IMAGES['PYTHON_IMAGE']}\n"
        in (ROOT / "infra" / "docker" / "Dockerfile").read_text()
    )


def test_the_example_says_all_that_may_be_said_and_no_secret() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    example = compose_env.EXAMPLE.read_text()

    assert set(re.findall(r"\$\{(\w+)", text)) <= set(re.findall(r"^#(\w+)=", example, flags=re.M))
    assert not re.search(r"^\w+=", example, flags=re.M)


def test_secrets_are_made_once_and_differ(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"

    made = compose_env.make_secrets(folder, tmp_path / ".env")
    first = {file.name: file.read_text() for file in folder.iterdir()}
    assert compose_env.make_secrets(folder, tmp_path / ".env") == []

    assert {file.name: file.read_text() for file in folder.iterdir()} == first
    assert first.keys() == {*compose_env.OWN_SECRETS, *DERIVED}
    assert folder.stat().st_mode & 0o777 == 0o700
    secrets = [first[name] for name in made]
    assert len(secrets) == len(set(secrets)) == len(compose_env.OWN_SECRETS)
    assert all(re.fullmatch(r"[\w-]{40,}", secret) for secret in secrets)
    assert first["postgres_password_profile"] in first["profile_database_url"]
    assert first["nats_password_profile"] in first["nats_passwords.conf"]


def test_secrets_of_an_older_env_are_taken_over(tmp_path: Path) -> None:
    older = tmp_path / ".env"
    older.write_text("POSTGRES_PASSWORD_PROFILE=p\nRAAK_KEY_SECRET=k\nRAAK_WRITE_KEYS=v,w\n")

    compose_env.make_secrets(tmp_path / "secrets", older)

    def read(name: str) -> str:
        return (tmp_path / "secrets" / name).read_text()

    assert (read("key_secret"), read("write_keys")) == ("k", "v,w")
    assert read("profile_database_url") == "postgresql://raak_profile:p@postgres:5432/raak_profile"
    assert len(read("claim_secrets")) >= 40


def test_a_settings_file_that_says_something_twice_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "raak.env"
    file.write_text(
        "RAAK_LOG_LEVEL=INFO\n# RAAK_DRAIN_S=9\nRAAK_DRAIN_S=10\nRAAK_LOG_LEVEL=DEBUG\n"
    )

    with pytest.raises(
        compose_env.SettingRepeated, match=r"raak.env:4 sets RAAK_LOG_LEVEL.*line 1"
    ):
        compose_env.check_settings([tmp_path / "none.env", file])

    file.write_text("RAAK_LOG_LEVEL=INFO\n#RAAK_LOG_LEVEL=DEBUG\n")
    compose_env.check_settings([file])


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
