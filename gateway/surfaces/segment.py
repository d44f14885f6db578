"""`/v1/*`: the Segment HTTP tracking API, so that existing libraries work by changing one address.

The gateway checks the write key and the size, writes down in the audit log whom the events name,
and hands the bytes to profile as they came: what an event may hold is profile's to say.
"""

from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Hashable, Mapping
from hashlib import sha256
from typing import Any

import aiohttp
import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.access.audit.audit_log import AuditEntry, AuditLog
from gateway.access.authentication.api_keys import PREFIX, ApiKeyCache
from gateway.access.authentication.attempts import attempt
from gateway.access.authentication.request_guard import INGEST
from gateway.access.authentication.service_tokens import ServiceTokens
from gateway.access.limits.load_shedding import Admission
from gateway.access.limits.rate_limits import caller_key
from gateway.surfaces.ingested import Ingested, read_request
from services.chassis import telemetry
from services.chassis.bodies import BodyLimits, headers_of, json_in, parse_json, read_body
from services.chassis.errors import RaakError, Unavailable
from services.chassis.graphql_http import extra_headers
from services.chassis.principal import SERVER_POLICY, SUBJECT_OF_KEYS, Forbidden, Principal
from services.contracts.words import Role

CALLS: Mapping[str, str] = {
    "track": "track",
    "identify": "identify",
    "alias": "alias",
    "group": "group",
    "page": "page",
    "screen": "screen",
    "batch": "batch",
    "t": "track",
    "i": "identify",
    "a": "alias",
    "g": "group",
    "p": "page",
    "s": "screen",
    "b": "batch",
}
"""Profile's call for each name; libraries for browsers and phones use the letters."""

PAGES = f"{SUBJECT_OF_KEYS}write:"
"""What the name of who sends with a write key begins with."""

NEEDED_SCOPE = "customers:write"
SERVER = frozenset({SERVER_POLICY})


class InvalidWriteKey(RaakError):
    """Events came with a write key that is not one of ours, or with none."""

    code = "INVALID_WRITE_KEY"
    status = 401


class UnreadableBody(RaakError):
    """A body had to be read for its write key, and cannot be."""

    code = "UNREADABLE_BODY"


class ProfileUnavailable(Unavailable):
    """Profile cannot take events now."""

    code = "PROFILE_UNAVAILABLE"


class Senders:
    """Knows who may send events: pages and apps by a write key, servers by an API key.

    To profile and the audit log a sender is an app that speaks for no customer, so it reads none,
    by the name of its key. Write keys are kept as digests, so that how long a look-up takes says
    nothing of them.
    """

    def __init__(self, write_keys: tuple[str, ...], api_keys: ApiKeyCache) -> None:
        digests = map(_digest, write_keys)
        self._pages = {digest: Principal(Role.APP, f"{PAGES}{digest[:16]}") for digest in digests}
        self._api_keys = api_keys

    def behind(self, key: str | None) -> Principal:
        """Who sends with a key; raises InvalidWriteKey, NotAuthenticated or KeysUnknown."""
        if key is None:
            raise InvalidWriteKey(
                "The request carries no write key.",
                hint="Send it as the user name of Basic authentication, or as `writeKey`.",
            )
        if key.startswith(PREFIX):
            caller = self._api_keys.principal(key)
            scopes = caller.scopes & {NEEDED_SCOPE}
            return Principal(Role.APP, caller.subject, (), scopes, SERVER)
        page = self._pages.get(_digest(key))
        if page is None:
            raise InvalidWriteKey(
                "The write key is not known here.",
                hint="Use one of RAAK_GATEWAY_WRITE_KEYS; `raak up` prints its own.",
            )
        return page


def _counted_as(sender: Principal) -> Hashable:
    """Whose limits a request counts for: a server's own; of a write key, which is public, those of
    the address it came from.
    """
    if sender.policies == SERVER:
        return caller_key(sender)
    tried = attempt.get()
    return ("ingest", tried.address if tried else None)


def _check_scope(sender: Principal) -> None:
    """Raise Forbidden for an API key that may not send events."""
    if sender.policies == SERVER and NEEDED_SCOPE not in sender.scopes:
        raise Forbidden(
            "The API key may not send events.", hint=f"Make one with the scope {NEEDED_SCOPE}."
        )


def _digest(key: str) -> str:
    return sha256(key.encode(errors="surrogatepass")).hexdigest()


class Profile:
    """Profile's door for events. `session` may keep connections; `within_s` is for one call."""

    def __init__(
        self, session: aiohttp.ClientSession, url: str, tokens: ServiceTokens, within_s: float
    ) -> None:
        self._session = session
        self._url = url.rstrip("/")
        self._tokens = tokens
        self._timeout = aiohttp.ClientTimeout(total=within_s)

    async def collect(
        self, sender: Principal, call: str, body: bytes, content_type: str
    ) -> Response:
        """Hand one call over and give profile's answer back; raises ProfileUnavailable."""
        try:
            async with self._session.post(
                f"{self._url}/collect/v1/{call}",
                data=body,
                headers=self._headers(sender, content_type),
                timeout=self._timeout,
                allow_redirects=False,
            ) as answer:
                return _passed_on(answer.status, await answer.read(), answer.content_type)
        except TimeoutError:
            raise ProfileUnavailable(
                "Profile did not answer in time; the events may have been stored.",
                hint="Send them again shortly: with the same `messageId` an event counts once.",
            ) from None
        except (aiohttp.ClientError, OSError):
            raise ProfileUnavailable(
                "Profile does not answer; nothing was stored.",
                hint="Send the events again shortly.",
            ) from None

    def _headers(self, sender: Principal, content_type: str) -> dict[str, str]:
        headers = {
            "Authorization": self._tokens.authorization(sender, "profile"),
            "Content-Type": content_type,
        }
        traceparent = telemetry.traceparent()
        return headers | {"traceparent": traceparent} if traceparent else headers


def _passed_on(status: int, body: bytes, content_type: str) -> Response:
    """Profile's answer, except one that libraries would take for a reason to drop their events."""
    if status in (401, 403, 404):
        raise ProfileUnavailable(
            "Profile does not take events from this gateway.",
            hint="Both need one key pair and one release. Send the events again later.",
        )
    headers = {"Retry-After": "1"} if status in (429, 503) else None
    return Response(body, status, headers, content_type)


class Segment:
    """The surface: one route for all calls."""

    def __init__(
        self,
        senders: Senders,
        profile: Profile,
        audit: AuditLog,
        limits: BodyLimits,
        admission: Admission,
    ) -> None:
        self._admission = admission
        self._senders = senders
        self._profile = profile
        self._audit = audit
        self._limits = limits

    def routes(self) -> list[Route]:
        """A route for each name a call has."""
        return [Route(f"/v1/{name}", self._collect, methods=["POST"]) for name in CALLS]

    async def _collect(self, request: Request) -> Response:
        try:
            return await self._collected(request)
        except RaakError as refusal:
            return _refused(refusal)

    async def _collected(self, request: Request) -> Response:
        headers = headers_of(request.scope)
        call = CALLS[request.url.path.rpartition("/")[2]]
        content_type = headers.get("content-type", "application/json")
        sender = None
        if not CREDENTIALS.isdisjoint(headers):
            sender = self._admitted(_key_before(headers), call)
            self._admission.arrive(_counted_as(sender))
        body = await read_body(request.receive, headers, self._limits)
        document = _document(json_in(body, content_type), is_needed=sender is None)
        sender = sender or self._admitted(_key_inside(document), call)
        visit = AuditEntry(self._audit, sender, *read_request(call, document))
        await visit.begin()
        # Not before its body is there: who sends slowly would hold a place that others need.
        with self._admission.enter(_counted_as(sender), INGEST) as ticket:
            try:
                answer = await self._profile.collect(sender, call, body, content_type)
            except BaseException as error:  # even what was cancelled may have been stored
                visit.record_failure(error)
                raise
            visit.record_answer({"errors": _errors_in(answer)})
            ticket.is_whole = answer.status_code < 400
        return answer

    def _admitted(self, key: str | None, call: str) -> Principal:
        """Who sends with a key; whose key may not is written down."""
        sender = self._senders.behind(key)
        try:
            _check_scope(sender)
        except Forbidden as refusal:
            AuditEntry(self._audit, sender, Ingested(call), ()).record_failure(refusal)
            raise
        return sender


CREDENTIALS = frozenset({"authorization", "x-api-key"})


def _key_before(headers: Mapping[str, str]) -> str | None:
    """The key in the headers; None if they hold something else."""
    if "authorization" not in headers:
        return headers["x-api-key"]
    scheme, _, credentials = headers["authorization"].partition(" ")
    read = {"basic": _user_name, "bearer": _api_key}.get(scheme.lower())
    return read(credentials) if read else None


def _user_name(credentials: str) -> str | None:
    """The user name of Basic authentication."""
    try:
        return b64decode(credentials, validate=True).decode().partition(":")[0]
    except (NotBase64, ValueError):
        return None


def _api_key(credentials: str) -> str | None:
    """A bearer's API key: a token opens the graph only."""
    return credentials if credentials.startswith(PREFIX) else None


def _document(text: bytes, *, is_needed: bool) -> Any:
    """The JSON of a body. None if it is none, which profile will say; if it is needed here, raises
    UnreadableBody.
    """
    try:
        return parse_json(text)
    except orjson.JSONDecodeError as flaw:
        if not is_needed:
            return None
        raise UnreadableBody(
            f"The body is not JSON in UTF-8 (line {flaw.lineno}, column {flaw.colno}), and there "
            "is no Authorization header.",
            hint="Send JSON, whatever the content type says, and the write key with it.",
        ) from None


def _key_inside(document: Any) -> str | None:
    """The `writeKey` of a body."""
    key = document.get("writeKey") if isinstance(document, dict) else None
    return key if isinstance(key, str) else None


def _errors_in(answer: Response) -> list[dict[str, Any]]:
    """What profile refused, of all of it or of single events, as `errors`."""
    said = _document(bytes(answer.body), is_needed=False)
    refused = [said.get("error"), *said.get("rejected", ())] if isinstance(said, dict) else []
    errors = [{"extensions": one} for one in refused if one]
    return errors or ([{}] if answer.status_code != 200 else [])


def _refused(refusal: RaakError) -> Response:
    headers = {name.decode(): value.decode() for name, value in extra_headers(refusal)}
    # Whoever is cut off while he sends does not see the refusal, and sends the same events again.
    headers.pop("connection", None)
    if isinstance(refusal, InvalidWriteKey):
        headers["www-authenticate"] = 'Basic realm="write key"'
    body = orjson.dumps({"success": False, "error": refusal.as_json()})
    return Response(body, refusal.status, headers, "application/json")
