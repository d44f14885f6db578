"""Reading a request's body without letting it grow past what is allowed."""

from starlette.requests import Request

from services.chassis.errors import RaakError


class BodyTooLarge(RaakError):
    """A request carries more than this door takes."""

    code = "BODY_TOO_LARGE"
    status = 413


class BodyEncoded(RaakError):
    """A body is compressed, which this door cannot undo."""

    code = "BODY_ENCODED"
    status = 415


async def read_body(request: Request, limit_bytes: int, setting: str) -> bytes:
    """The whole body; raises BodyTooLarge as soon as it is clear that it is, not after it."""
    encoding = request.headers.get("content-encoding", "identity")
    if encoding.lower() != "identity":
        raise BodyEncoded(
            f"The body is encoded as {encoding!r}.", hint="Send it as it is, without compression."
        )
    _check(_announced(request), limit_bytes, setting)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        _check(len(body), limit_bytes, setting)
    return bytes(body)


def _announced(request: Request) -> int:
    announced = request.headers.get("content-length", "")
    return int(announced) if announced.isdecimal() else 0


def _check(size: int, limit_bytes: int, setting: str) -> None:
    if size > limit_bytes:
        raise BodyTooLarge(
            f"The body has more than {limit_bytes / 1024:.0f} KB ({setting}).",
            hint="Send less at a time, in several requests.",
        )
