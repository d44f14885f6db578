"""The chain of the audit log: each line is sealed under the gateway's secret and the line before.

A sealed line ends with the name of its chain, its number there, the seal of the line before, and
its own: 128 bits of keyed BLAKE2b (RFC 7693) over all that stands before it. So a line that is
changed, removed, inserted or moved shows. Each process has a chain of its own, so replicas may
share a file; its first line says which was the last one sealed in the file by then. What is cut off
at the end shows by the head, which the gateway's own log repeats now and then.
"""

import hmac
import os
import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import orjson

from services.chassis.errors import RaakError

SEAL = re.compile(
    rb',"chain":"([0-9a-f]{24})","seq":(\d{1,18}),"prev":"([0-9a-f]{32})"(,"seal":"([0-9a-f]{32})"\})'
)
SEAL_BYTES = 16
NO_SEAL = "00" * SEAL_BYTES
"""What stands for the line before the first."""
UNLOCKED_BYTES = 2_000
"""hashlib lets other threads go first for pieces of 2,048 bytes and more (see
`record.Digests`)."""
TAIL_BYTES = 4 * 1024 * 1024
"""How far from the end of a file its last sealed line is looked for."""


class ChainHead(NamedTuple):
    """The last line of a chain."""

    chain: str
    seq: int
    seal: str

    def __str__(self) -> str:
        return ":".join(map(str, self))


class PreviousChain(NamedTuple):
    """What a file holds when a chain begins there."""

    head: ChainHead | None = None
    is_broken: bool = False
    """Whether lines without a seal come after it: one that broke off, or those of an older Raak."""


class Sealer:
    """Makes seals. `secret` is the gateway's."""

    def __init__(self, secret: str) -> None:
        self._key = sha256(f"chain of {secret}".encode()).digest()
        self.key_id = self.seal(b"key")[:8]
        """Names the secret, in the names of the chains that are sealed with it."""

    def seal(self, text: bytes) -> str:
        digest = blake2b(text[:UNLOCKED_BYTES], digest_size=SEAL_BYTES, key=self._key)
        for start in range(UNLOCKED_BYTES, len(text), UNLOCKED_BYTES):
            digest.update(text[start : start + UNLOCKED_BYTES])
        return digest.hexdigest()


class AuditChain:
    """Seals the lines of one process. `look_back` reads what was written before."""

    def __init__(
        self,
        secret: str,
        look_back: Callable[[], PreviousChain] = PreviousChain,
        random: Callable[[int], str] = secrets.token_hex,
    ) -> None:
        self._sealing = Sealer(secret)
        self._look_back = look_back
        self._name = f"{random(8)}{self._sealing.key_id}"
        self._seq = -1
        self._last = NO_SEAL

    @property
    def head(self) -> ChainHead | None:
        """The last line that was sealed."""
        return ChainHead(self._name, self._seq, self._last) if self._seq >= 0 else None

    def seal_lines(self, lines: Iterable[bytes], now: datetime) -> Iterator[bytes]:
        """Lines of JSON objects with their seals; before the first comes that of the chain."""
        if self._seq < 0:
            before = self._look_back()
            begun = self._seal(self._chain_line(now, "begun", before))
            yield b"\n" + begun if before.is_broken else begun
        for line in lines:
            yield self._seal(line)

    def end(self, now: datetime) -> bytes:
        """The last line, which says so; nothing where there was none."""
        return self._seal(self._chain_line(now, "ended")) if self._seq >= 0 else b""

    def _chain_line(self, now: datetime, what: str, before: PreviousChain | None = None) -> bytes:
        members: dict[str, Any] = {"time": now, "kind": "chain", "is": what}
        if before is not None:
            members["after"] = before.head and str(before.head)
            members["broken"] = before.is_broken
        return orjson.dumps(members) + b"\n"

    def _seal(self, line: bytes) -> bytes:
        self._seq += 1
        members = f',"chain":"{self._name}","seq":{self._seq},"prev":"{self._last}"'
        text = line[:-2] + members.encode()
        self._last = self._sealing.seal(text)
        return text + f',"seal":"{self._last}"}}\n'.encode()


def look_back(path: Path) -> PreviousChain:
    """The last sealed line of a file, whoever sealed it; nothing if it cannot be read."""
    if not path.is_file():  # also what is no file at all, such as a pipe
        return PreviousChain()
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL_BYTES))
            lines = [line for line in file.read().split(b"\n") if line]
    except OSError:
        return PreviousChain()
    for count, line in enumerate(reversed(lines)):
        if (match := SEAL.search(line)) and match.end() == len(line):
            return PreviousChain(_head(match), is_broken=count > 0)
    return PreviousChain(None, is_broken=bool(lines))


def _head(match: re.Match[bytes]) -> ChainHead:
    return ChainHead(match[1].decode(), int(match[2]), match[5].decode())


# --- verifying --------------------------------------------------------------------------------


class AuditChanged(RaakError, code="AUDIT_CHANGED"):
    """An audit log is not as the gateway has written it."""


@dataclass(slots=True)
class VerifiedLog:
    """What can be said of a log that nobody has changed."""

    records: int = 0
    heads: dict[str, ChainHead] = field(default_factory=dict)
    """The last line of each chain."""
    begins: dict[str, int] = field(default_factory=dict)
    """The first number of each chain, where that is not 0: older files hold the rest."""
    ended: set[str] = field(default_factory=set)
    """Chains whose process has stopped in good order."""
    gaps: int = 0
    """Records that there was no room for, as the log itself says."""
    broken: int = 0
    """Lines that broke off; they were written again, or their process died."""


class ChainVerifier:
    """Reads the lines of a log, from the oldest on; raises AuditChanged at the first that is not as
    it was written. `expected` is a head that has to be there.
    """

    def __init__(self, secret: str, expected: ChainHead | None = None) -> None:
        self._sealing = Sealer(secret)
        self._expected = expected
        self._is_head_found = expected is None
        self._broken: list[tuple[str, bytes]] = []
        """Lines without a seal that nothing has explained yet."""
        self._is_cut_off = False
        self.verified = VerifiedLog()

    def read(self, place: str, line: bytes) -> None:
        """Read one line, with its end if it has one. `place` names it: `audit.jsonl, line 7`."""
        self._is_cut_off = not line.endswith(b"\n")
        line = line.removesuffix(b"\n")
        if not line.strip():
            return
        match = SEAL.search(line)
        if match is None or match.end() != len(line):
            self._broken.append((place, line))
            return
        self._read(place, line, match)
        if self._broken and line.startswith(self._broken[-1][1]):
            self._explain(1)

    def _read(self, place: str, line: bytes, match: re.Match[bytes]) -> None:
        head, before = _head(match), match[3].decode()
        if not head.chain.endswith(self._sealing.key_id):
            self._fail(place, "was sealed under another secret")
        if not hmac.compare_digest(self._sealing.seal(line[: match.start(4)]), head.seal):
            self._fail(place, "was changed")
        known = self.verified.heads.get(head.chain)
        members = orjson.loads(line)
        if known is not None:
            self._follow(place, known, head, before)
        elif head.seq:
            self.verified.begins[head.chain] = head.seq
        else:
            self._begin(place, members)
        self.verified.heads[head.chain] = head
        self._count(members, head)

    def _follow(self, place: str, known: ChainHead, head: ChainHead, before: str) -> None:
        if head.seq <= known.seq:
            self._fail(place, "stands twice, or was moved or inserted")
        if head.seq > known.seq + 1:
            missing = head.seq - known.seq - 1
            self._fail(place, f"comes after {missing} that were removed")
        if before != known.seal:
            self._fail(place, "follows another line than the one before it")

    def _begin(self, place: str, members: Mapping[str, Any]) -> None:
        """A chain begins: what its first line says came before it must be there."""
        if members.get("broken"):
            self._explain(len(self._broken))
        if not members.get("after"):
            return
        chain, seq, seal = str(members["after"]).split(":")
        known = self.verified.heads.get(chain)
        if known is None or known.seq < int(seq):
            self._fail(place, "comes after some that were removed")
        if known.seq == int(seq) and known.seal != seal:
            self._fail(place, "follows another line than the one before it")

    def _explain(self, lines: int) -> None:
        self.verified.broken += lines
        del self._broken[len(self._broken) - lines :]

    def _count(self, members: Mapping[str, Any], head: ChainHead) -> None:
        if members.get("kind") == "chain":
            if members.get("is") == "ended":
                self.verified.ended.add(head.chain)
        else:
            self.verified.records += 1
            self.verified.gaps += int(members.get("dropped", 0))
        expected = self._expected
        if expected is not None and (head.chain, head.seq) == (expected.chain, expected.seq):
            self._is_head_found = head.seal == expected.seal

    def end(self) -> VerifiedLog:
        if self._broken:
            is_being_written = len(self._broken) == 1 and self._is_cut_off
            if not (is_being_written and self.verified.heads):
                self._fail(self._broken[0][0], "has no seal")
            self._explain(1)
        if not self._is_head_found:
            raise AuditChanged(
                f"The log ends before {self._expected}, or does not hold it as it was.",
                hint="Lines at its end were removed, or the file that holds them is missing here.",
            )
        return self.verified

    def _fail(self, place: str, what: str) -> NoReturn:
        """Of a line without a seal before it nobody knows what it was: then it is that one."""
        if self._broken:
            place, what = self._broken[0][0], "has no seal: it was changed or inserted"
        raise AuditChanged(
            f"{place}: this line {what}.",
            hint="What stands before it is as it was written. Compare with a copy, and see who "
            "could write to the file.",
        )
