"""Where the graph that is served comes from: schemas, and the file of roles."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from gateway.access.authorization.roles import Roles, read_roles_text
from gateway.supergraph import Supergraph, compose, read_supergraph
from services.chassis.errors import RaakError

SUBGRAPHS = Path(__file__).with_name("subgraphs")


class SubgraphUnknown(RaakError, code="SUBGRAPH_UNKNOWN", status=500):
    """A schema has no service behind it, or there is no schema."""


def read_subgraphs(folder: Path = SUBGRAPHS) -> dict[str, str]:
    """The schemas in a folder, by service; raises SubgraphUnknown if there are none."""
    sdls = {path.stem: _text(path) for path in sorted(folder.glob("*.graphql"))}
    if not sdls:
        raise SubgraphUnknown(
            f"There is no schema in {folder}.", hint="Write the services' schemas: `make generate`."
        )
    return sdls


@dataclass(frozen=True, slots=True)
class SchemaSource:
    """Where a graph comes from."""

    read: Callable[[], Mapping[str, str]]
    """Texts of SDL, by name; raises RaakError if they can't be had."""
    compose: Callable[[Mapping[str, str]], Supergraph]
    """Makes a supergraph of them; raises RaakError with everything that is wrong."""
    read_roles: Callable[[], str] = read_roles_text
    """The text of the file of roles; raises RaakError if it can't be had."""

    def texts(self) -> "SourceTexts":
        """What it holds now; raises RaakError."""
        return SourceTexts(self.read(), self.read_roles())


def subgraph_folder(folder: Path) -> SchemaSource:
    """Compose the schemas of a folder."""
    return SchemaSource(lambda: read_subgraphs(folder), compose)


def supergraph_file(file: Path) -> SchemaSource:
    """Serve a supergraph that was composed elsewhere."""
    return SchemaSource(
        lambda: {file.name: _text(file)}, lambda texts: read_supergraph(texts[file.name])
    )


def fixed_sdl(sdls: Mapping[str, str]) -> SchemaSource:
    """Compose this SDL, by subgraph. It never changes."""
    return SchemaSource(lambda: sdls, compose)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SubgraphUnknown(
            f"{str(path)!r} can't be read ({type(error).__name__}).",
            hint="Write it as UTF-8, where the gateway may read it.",
        ) from None


def digest_of(texts: Mapping[str, str]) -> str:
    """Equal for equal texts under equal names."""
    digest = sha256()
    for name, text in sorted(texts.items()):
        for part in (name, text):
            encoded = part.encode(errors="surrogatepass")
            digest.update(b"%d:" % len(encoded) + encoded)
    return digest.hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class SourceTexts:
    """What a source holds at one moment: schemas by name, and the file of roles."""

    schemas: Mapping[str, str]
    roles: str

    @property
    def digest(self) -> str:
        """Equal for equal texts."""
        return digest_of({"schemas": digest_of(self.schemas), "roles": self.roles})


@dataclass(frozen=True, slots=True)
class CompositionResult:
    """A graph with its roles, and the digest of what they were made of."""

    supergraph: Supergraph
    roles: Roles
    digest: str

    @classmethod
    def of(cls, source: SchemaSource, texts: SourceTexts | None = None) -> "CompositionResult":
        """What a source holds now, unless its texts are given; raises RaakError."""
        texts = texts or source.texts()
        return cls(source.compose(texts.schemas), Roles.parse(texts.roles), texts.digest)
