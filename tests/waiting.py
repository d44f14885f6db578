"""Patience of tests."""

import asyncio
from collections.abc import Callable


async def until(holds: Callable[[], bool], within_s: float = 30) -> None:
    """Return as soon as something holds; raises TimeoutError when it does not in time."""
    async with asyncio.timeout(within_s):
        while not holds():
            await asyncio.sleep(0.005)
