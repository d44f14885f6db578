"""Dead letters, for the operator."""

from services.chassis.bus import open_bus
from services.chassis.errors import RaakError
from services.chassis.streams import DeadLetter


class DeadLetterNotFound(RaakError, code="NO_SUCH_DEAD_LETTER"):
    """A dead letter is not there (any more)."""


async def list_dead_letters(nats_url: str) -> list[DeadLetter]:
    async with open_bus(nats_url, patience_s=3) as bus:
        return await bus.list_dead_letters()


async def replay(nats_url: str, numbers: set[int]) -> int:
    """Deliver some again, or all when no number is given; says how many."""
    async with open_bus(nats_url, patience_s=3) as bus:
        letters = await bus.list_dead_letters()
        missing = numbers - {letter.sequence for letter in letters}
        if missing:
            raise DeadLetterNotFound(
                f"There is no dead letter {sorted(missing)}.",
                hint="`raak dead-letters list` shows those there are.",
            )
        chosen = [letter for letter in letters if not numbers or letter.sequence in numbers]
        for letter in chosen:
            await bus.replay(letter)
        return len(chosen)
