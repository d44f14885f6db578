"""Identities, masked for callers that may not read them.

`Masking.mask` masks whatever leaves: a trait, the properties of an event, the value a condition
saw, a content. It masks by names (values of `email`, `shippingAddress`) and by patterns (an
address, phone number or IBAN in any text). What is stored stays as it is.
"""

import ast
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, TypeAlias

from services.chassis.errors import RaakError
from services.contracts.identity import IDENTIFYING_NAMES, IDENTIFYING_TRAITS

MASK = "•••"
"""Stands for a masked value."""

MISSING = "missing"
"""The value of a condition where there was none."""

NameWords: TypeAlias = tuple[str, ...]
Path: TypeAlias = tuple[str, ...]
NameSet: TypeAlias = tuple[frozenset[str], tuple[str, ...]]
"""Names without separators between their words, and the possible ends of names that need a look."""

LONGEST = 10_000
"""Characters of a condition that is read as one; conditions have fewer."""

TRAITS = frozenset({"traits"})
"""Values under this name, at any depth, are traits of a customer."""
HARMLESS = frozenset({"consent", "journey"})
"""Paths of a condition that begin with these identify no person."""
GENERIC_WORDS = frozenset({"address", "hash", "id", "number", "value"})
"""Words after a name that leave it what it is: `email_address`, `phone2`."""

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[^\W\d_A-Z]+|\d+")
_AT = r"(?:[@\uFF20]|%(?:25)*40)"
_EMAIL = re.compile(
    rf"[^\s@<>\"'(),:;\[\]/?&=|%]{{1,100}}{_AT}[^\W_](?:[\w-]{{0,62}})(?:\.[\w-]{{1,63}}){{0,8}}"
)
_PHONE = re.compile(r"(?:\+|%2[bB])\d(?:[ ().-]{0,2}\d){7,14}(?!\d)")
_IBAN = re.compile(
    r"(?<![^\W_])(?:[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]{4}){2,7}(?:[ -]?[A-Z0-9]{1,3})?"
    r"|[a-z]{2}\d{2}[a-z0-9]{11,30})"
)
_SUSPECT = re.compile(r"[@%+=\uFF20]|[A-Za-z]{2}\d{2}[ A-Za-z\d-]")
"""What every text has that holds one of these: most have nothing of it."""
_PARAMETER = re.compile(r"(?<=[?&#;])([^=&#;\s]{1,60})=([^&#;\s]+)")
_PART = re.compile(r"[. (]")
_PATH = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*")


@lru_cache(maxsize=10_000)
def words_of(name: str) -> NameWords:
    """The words of a name in whatever spelling: `emailAddress` or `Email-address`."""
    return tuple(word.lower() for word in _WORD.findall(name))


class IdentitiesNotReadable(RaakError, code="IDENTITIES_NOT_READABLE", status=403):
    """A condition would reveal an identity that its caller may not read."""


@dataclass(frozen=True)
class Masking:
    """Masks what identifies. `extra_names` are names besides those of `contracts.identity`."""

    extra_names: frozenset[str] = frozenset()

    def mask(self, value: Any, *, are_traits: bool = False) -> Any:
        """A JSON value without identities; `are_traits`: its names are names of traits."""
        if isinstance(value, str):
            return self._mask_text(value)
        if isinstance(value, Mapping):
            return {
                self._mask_text(key) if isinstance(key, str) else key: self.mask_member(
                    str(key), inner, are_traits=are_traits
                )
                for key, inner in value.items()
            }
        if isinstance(value, list | tuple):
            return [self.mask(inner, are_traits=are_traits) for inner in value]
        return value

    def mask_member(self, name: str, value: Any, *, are_traits: bool = False) -> Any:
        """The value of a name: masked as a whole if the name is identifying."""
        if self.identifies(name, are_traits=are_traits):
            return hide_value(value)
        return self.mask(value, are_traits=are_traits or name in TRAITS)

    def mask_compared(self, condition: str, value: Any) -> Any:
        """The value a condition compared; of several parts, each part's, by its own condition."""
        if isinstance(value, Mapping) and value and all(map(_PART.search, map(str, value))):
            return {
                self._mask_text(part): self.mask_compared(part, part_value)
                for part, part_value in value.items()
            }
        if value == MISSING or not self.is_personal(condition):
            return self.mask(value)
        return hide_value(value)

    def identifies(self, name: str, *, are_traits: bool = False) -> bool:
        """Whether a name is identifying (`email`), or ends with one that is."""
        known, endings = self._of_traits if are_traits else self._anywhere
        plain = name.lower().replace("_", "").replace("-", "").replace(" ", "")
        if plain.isalnum() and not plain.rstrip("0123456789").endswith(endings):
            return False  # this decides for most names
        words = words_of(name)
        while words:
            if any("".join(words[-n:]) in known for n in range(1, len(words) + 1)):
                return True
            if words[-1] not in GENERIC_WORDS and not words[-1].isdigit():
                return False
            words = words[:-1]
        return False

    def is_path_personal(self, path: Sequence[str]) -> bool:
        """Whether a path, `traits.email` in parts, is identifying; no purpose or journey is."""
        if path[0] in HARMLESS:
            return False
        below = (False, *(part in TRAITS for part in path))
        return any(
            self.identifies(part, are_traits=is_trait)
            for part, is_trait in zip(path, below, strict=False)
        )

    def is_personal(self, condition: str) -> bool:
        return any(map(self.is_path_personal, _paths(condition)))

    def reveals_identity(self, condition: str) -> bool:
        """Whether a condition compares or holds an identity; testing for one is fine."""
        looks = _paths(condition, compared_only=True)
        return self._mask_text(condition) != condition or any(map(self.is_path_personal, looks))

    def check(self, conditions: Iterable[str]) -> None:
        """Raise IdentitiesNotReadable for the first condition whose truth reveals an identity."""
        for condition in conditions:
            if self.reveals_identity(condition):
                raise IdentitiesNotReadable(
                    f"The condition {condition!r} would reveal an identity.",
                    hint="Ask whether there is such a trait (exists, missing), or use a token with "
                    "the scope identities:read.",
                )

    def _mask_text(self, text: str) -> str:
        """A text without addresses, phone numbers, account numbers, and such parameters in it."""
        if not _SUSPECT.search(text):
            return text
        if "=" in text:
            text = _PARAMETER.sub(self._mask_parameter, text)
        if "@" in text or "%" in text or "\uff20" in text:
            text = _EMAIL.sub(MASK, text)
        if "+" in text or "%2" in text:
            text = _PHONE.sub(MASK, text)
        return _IBAN.sub(_mask_iban, text) if len(text) >= 15 else text

    def _mask_parameter(self, found: re.Match[str]) -> str:
        return f"{found[1]}={MASK}" if self.identifies(found[1]) else found[0]

    @cached_property
    def _anywhere(self) -> NameSet:
        return _words_and_endings(IDENTIFYING_NAMES | self.extra_names)

    @cached_property
    def _of_traits(self) -> NameSet:
        return _words_and_endings(IDENTIFYING_TRAITS | self.extra_names)


def _words_and_endings(names: Iterable[str]) -> NameSet:
    known = frozenset("".join(words_of(name)) for name in names)
    return known, (*known, *GENERIC_WORDS)


USUAL = Masking()
"""Without extra names."""

Hide: TypeAlias = Callable[[Masking, Any, Any], Any]
"""How a field is masked: a function of masking, parent object and value."""


def leave_unmasked(masking: Masking, source: Any, value: Any) -> Any:
    """For what the company wrote, not a customer."""
    return value


def mask_value(masking: Masking, source: Any, value: Any) -> Any:
    """The default for texts and JSON."""
    return masking.mask(value)


def hide_value(value: Any) -> Any:
    """The mask in place of a value; true, false and null stay."""
    return value if value is None or isinstance(value, bool) else MASK


def mask_texts(value: Any) -> Any:
    """A JSON value of the same form, with every text and number masked."""
    if isinstance(value, Mapping):
        return {key: mask_texts(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [mask_texts(inner) for inner in value]
    return hide_value(value)


def _paths(condition: str, *, compared_only: bool = False) -> Iterator[Path]:
    """The paths a condition (an expression of Python) reads; all names in a text that is none.

    `compared_only` leaves out paths whose existence alone is tested.
    """
    try:
        tree = ast.parse(f"({condition}\n)", mode="eval") if len(condition) <= LONGEST else None
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        tree = None
    if tree is None:
        yield from (tuple(name.split(".")) for name in _PATH.findall(condition))
        return
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if path := _path(node):
            yield path
        elif not (compared_only and _is_existence_check(node)):
            waiting += ast.iter_child_nodes(node)


def _path(node: ast.AST) -> Path:
    """The parts of `traits.address["post code"]`; none of what is no such thing."""
    match node:
        case ast.Name(id=name):
            return (name,)
        case (
            ast.Attribute(value=above, attr=name)
            | ast.Subscript(value=above, slice=ast.Constant(value=str(name)))
        ):
            path = _path(above)
            return (*path, name) if path else ()
    return ()


def _is_existence_check(node: ast.AST) -> bool:
    match node:
        case ast.Call(func=ast.Name(id="exists" | "missing"), args=[only], keywords=[]):
            return bool(_path(only))
    return False


def _mask_iban(found: re.Match[str]) -> str:
    """An IBAN by its check digits (ISO 13616), so that no article number is taken for one."""
    pieces = re.split(r"(?=[ -])", found[0])
    for count in range(len(pieces), 0, -1):  # what follows one may look like its last piece
        plain = re.sub(r"[ -]", "", "".join(pieces[:count]))
        digits = "".join(str(int(letter, 36)) for letter in plain[4:] + plain[:4])
        if len(plain) >= 15 and int(digits) % 97 == 1:
            return MASK + "".join(pieces[count:])
    return found[0]
