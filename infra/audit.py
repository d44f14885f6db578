"""`raak audit`: whether the audit log is unchanged, and the digests in it."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from gateway.access.audit.audit_log import audit_secret
from gateway.access.audit.chain import ChainHead, ChainVerifier, VerifiedLog
from gateway.access.audit.record import Digests
from gateway.settings import GatewaySettings
from infra.instance import EmbeddedInstance
from services.chassis.errors import RaakError
from services.contracts.identity import normalise_value


class UnreadableLog(RaakError, code="UNREADABLE_LOG"):
    """A file of the audit log, or a head of it, cannot be read."""


def load_audit_secret(data: Path) -> str:
    """The secret of the audit log: by the environment, else of an instance. Raises NoInstance."""
    settings = GatewaySettings()
    if "key_secret" in settings.model_fields_set:
        return audit_secret(settings.key_secret)
    return audit_secret(EmbeddedInstance.load(data).secret("key-secret"))


def verify(files: Iterable[Path], secret: str, head: str = "") -> VerifiedLog:
    """Read files, the oldest first. `head` is one that the gateway's log has printed.

    Raises AuditChanged at the first line that is not as it was written, or UnreadableLog.
    """
    verifier = ChainVerifier(secret, _parse_head(head) if head else None)
    for file in files:
        for number, line in _lines(file):
            verifier.read(f"{file.name}, line {number}", line)
    return verifier.end()


def _parse_head(written: str) -> ChainHead:
    chain, _, rest = written.partition(":")
    seq, _, seal = rest.partition(":")
    if not (chain and seal and seq.isdecimal()):
        raise UnreadableLog(
            f"{written!r} is no head of an audit log.",
            hint="Give it as the gateway's log prints it: chain, number and seal, with colons.",
        )
    return ChainHead(chain, int(seq), seal)


def _lines(file: Path) -> Iterator[tuple[int, bytes]]:
    try:
        with file.open("rb") as opened:
            yield from enumerate(opened, 1)
    except OSError as error:
        raise UnreadableLog(
            f"The file {str(file)!r} cannot be read ({type(error).__name__}).",
            hint="Check its name, and who may read it.",
        ) from None


def describe(verified: VerifiedLog) -> Iterator[str]:
    """A report on an unchanged log, line by line."""
    yield f"OK: {verified.records} records in {len(verified.heads)} chains, none changed."
    for chain, head in verified.heads.items():
        begins = verified.begins.get(chain, 0)
        older = " (older files hold what came before)" if begins else ""
        end = "ended" if chain in verified.ended else "goes on, or was not ended in good order"
        yield f"{chain}: {begins} to {head.seq}{older}; {end}. Its head is {head}"
    if verified.gaps:
        yield f"{verified.gaps} records are missing, as the log itself says: there was no room."
    if verified.broken:
        yield f"{verified.broken} lines broke off, or have no seal since they are older than seals."


def digest(kind: str, value: str, secret: str) -> str:
    """What the log calls an identity (`email`), or a caller (`subject`)."""
    return Digests(secret.encode()).of(kind, normalise_value(kind, value))
