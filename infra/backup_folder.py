"""The folder of a backup: whole and readable to its owner only, or not there.

Its manifest is written last, and says of every file how long it is and what its sum is.
"""

import json
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any, BinaryIO, Self

from services.chassis.errors import RaakError

MANIFEST = "manifest.json"
FORMAT = 1
CHUNK = 1 << 20
NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL


class BackupFailed(RaakError, code="BACKUP_FAILED"):
    """A backup could not be written, or not be read."""


@dataclass(frozen=True, slots=True)
class DatabaseManifest:
    """What a backup has of a database; `tables` are their columns, `rows` how many each has."""

    revision: str
    tables: dict[str, list[str]]
    rows: dict[str, int]
    sequences: dict[str, int]


@dataclass(frozen=True, slots=True)
class BackupManifest:
    release: str
    made_at: str
    postgres: str
    databases: dict[str, DatabaseManifest]
    files: dict[str, tuple[int, str]]
    format: int = field(default=FORMAT)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the manifest of a whole and undamaged backup; raises BackupFailed for any other."""
        try:
            found = json.loads((folder / MANIFEST).read_bytes())
            if found["format"] != FORMAT:
                raise BackupFailed(
                    f"{str(folder)!r} has the format {found['format']!r}, this release {FORMAT}.",
                    hint="Restore it with the release that has written it, and upgrade then.",
                )
            databases = {name: DatabaseManifest(**one) for name, one in found["databases"].items()}
            files = {name: (int(size), str(sum_)) for name, (size, sum_) in found["files"].items()}
            manifest = cls(**{**found, "databases": databases, "files": files})
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise BackupFailed(
                f"{str(folder)!r} is no whole backup: its {MANIFEST} cannot be read"
                f" ({type(error).__name__}).",
                hint="Name a folder that `raak backup` has written to its end.",
            ) from error
        manifest._check_files(folder)
        return manifest

    def _check_files(self, folder: Path) -> None:
        for name, (size, checksum) in self.files.items():
            path = folder / name
            if not path.is_file() or path.stat().st_size != size or sum_of(path) != checksum:
                raise BackupFailed(
                    f"The backup {str(folder)!r} is damaged at {name!r}.",
                    hint="Take another backup.",
                )


class BackupWriter:
    """Writes the files of a backup, and remembers what the manifest says of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: dict[str, tuple[int, str]] = {}

    @contextmanager
    def open(self, name: str) -> Iterator["SummedFile"]:
        """A file that is on the disk when the block ends."""
        path = self.folder / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(path, NEW_FILE, mode=0o600), "wb") as file:
            summed = SummedFile(file)
            yield summed
            file.flush()
            os.fsync(file.fileno())
        self.files[name] = (summed.size, summed.sum.hexdigest())

    def write(self, name: str, content: bytes) -> None:
        with self.open(name) as file:
            file.write(content)

    def copy_folder(self, folder: Path, name: str) -> None:
        """Copy the files of a folder, without those below."""
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if path.is_file():
                self.write(f"{name}/{path.name}", path.read_bytes())

    def write_manifest(self, manifest: BackupManifest) -> None:
        content = json.dumps(asdict(manifest), indent=1, sort_keys=True)
        with self.open(MANIFEST) as file:
            file.write(content.encode())


class SummedFile:
    """A file that sums what is written to it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.sum = sha256()
        self.size = 0

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self.sum.update(data)
        self.size += len(data)

    async def take(self, data: bytes) -> None:
        """Write what a COPY sends."""
        self.write(data)


@contextmanager
def write_backup(folder: Path) -> Iterator[BackupWriter]:
    """Write a backup under another name, which it leaves when the block ends well."""
    if folder.exists():
        raise BackupFailed(f"{str(folder)!r} is there already.", hint="Name another folder.")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    except OSError as error:
        raise _not_writable(folder, error) from error
    try:
        yield BackupWriter(draft)
        for path in (draft, *(path for path in draft.rglob("*") if path.is_dir())):
            sync_folder(path)
        draft.rename(folder)
        sync_folder(folder.parent)
    except OSError as error:
        raise _not_writable(folder, error) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _not_writable(folder: Path, error: OSError) -> BackupFailed:
    return BackupFailed(
        f"{str(folder)!r} cannot be written ({error.strerror or type(error).__name__}).",
        hint="Look whether the disk is full, and who may write there.",
    )


def sync_folder(folder: Path) -> None:
    """Have the disk know the names in a folder."""
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def sum_of(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


async def read_chunks(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk


def table_file(process: str, table: str) -> str:
    return f"{process}/{table}.copy"


def secrets_of(folder: Path) -> Mapping[str, Any]:
    """The secrets of a backup, by their names."""
    return {path.name: path.read_text() for path in sorted((folder / "secrets").glob("*"))}
