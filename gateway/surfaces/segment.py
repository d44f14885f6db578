"""`/v1/*`: the Segment HTTP tracking API, so that existing libraries work by changing one address.

The gateway checks the write key and the size, records the identities in the events in the audit
log, and sends the bytes on to profile as they came: what an event may hold is profile's to say.

`/v1/projects/{key}/settings` is what analytics.js reads first, from Segment's CDN otherwise.
"""

from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import aiohttp
import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.access.audit.audit_log import AuditEntry, AuditLog
from gateway.access.authentication.api_keys import PREFIX, ApiKeyCache
from gateway.access.authentication.attempts import current_attempt
from gateway.access.authentication.request_guard import INGEST
from gateway.access.authentication.service_tokens import ServiceTokens
from gateway.access.limits.load_shedding import Admission
from gateway.access.limits.rate_limits import caller_key
from gateway.surfaces.audited_events import BATCH, EVENT_CALLS, AuditedEvents, read_events
from gateway.surfaces.json_api import format_refusal
from services.chassis import telemetry
from services.chassis.bodies import BodyLimits, json_in, parse_json, read_body, read_headers
from services.chassis.errors import RaakError, Unavailable
from services.chassis.principal import SERVER_POLICY, SUBJECT_OF_KEYS, Forbidden, Principal
from services.contracts.enums import Role

CALLS = {name: call for call in (*EVENT_CALLS, BATCH) for name in (call, call[0])}
"""Profile's call for each name; libraries for browsers and phones use the letters."""

WRITE_KEY_PREFIX = f"{SUBJECT_OF_KEYS}write:"
"""What the subject of a sender with a write key begins with."""

REQUIRED_SCOPE = "customers:write"
SERVER_POLICIES = frozenset({SERVER_POLICY})
SETTINGS_PATH = "/v1/projects/{key}/settings"
SETTINGS_MAX_AGE_S = 300
"""How long one browser keeps them. A shared cache may not: they name the host they were read by."""


class InvalidWriteKey(RaakError, code="INVALID_WRITE_KEY", status=401):
    """Events came with a write key that is not one of ours, or without a key."""


class UnreadableBody(RaakError, code="UNREADABLE_BODY"):
    """A body has to be parsed for its write key, and is not JSON."""


class ProfileUnavailable(Unavailable, code="PROFILE_UNAVAILABLE"):
    """Profile does not accept events now."""


class SenderAuthenticator:
    """Finds the sender of events by its key: a write key of pages and apps, an API key of a server.

    For profile and the audit log a sender is an app that speaks for no customer, so it reads none;
    its subject names its key. Write keys are stored as digests, so that the time of a look-up
    reveals nothing of them.
    """

    def __init__(self, write_keys: tuple[str, ...], api_keys: ApiKeyCache) -> None:
        digests = map(_digest, write_keys)
        self._by_digest = {
            digest: Principal(Role.APP, f"{WRITE_KEY_PREFIX}{digest[:16]}") for digest in digests
        }
        self._api_keys = api_keys

    def authenticate(self, key: str | None) -> Principal:
        """The sender with a key; raises InvalidWriteKey, NotAuthenticated or KeysUnknown."""
        if key is None:
            raise InvalidWriteKey(
                "The request carries no write key.",
                hint="Send it as the user name of Basic authentication, or as `writeKey`.",
            )
        if key.startswith(PREFIX):
            caller = self._api_keys.principal(key)
            scopes = caller.scopes & {REQUIRED_SCOPE}
            return Principal(Role.APP, caller.subject, (), scopes, SERVER_POLICIES)
        return self.authenticate_page(key)

    def authenticate_page(self, key: str) -> Principal:
        """The sender with a write key; raises InvalidWriteKey."""
        sender = self._by_digest.get(_digest(key))
        if sender is None:
            raise InvalidWriteKey(
                "The write key is not one of this gateway.",
                hint="Use one of RAAK_GATEWAY_WRITE_KEYS; `raak up` prints its own.",
            )
        return sender


def _limit_key(sender: Principal) -> Hashable:
    """Whose limits a request counts for: a server's own; with a write key, which is public, those
    of the address it came from.
    """
    if sender.policies == SERVER_POLICIES:
        return caller_key(sender)
    tried = current_attempt.get()
    return ("ingest", tried.address if tried else None)


def _check_scope(sender: Principal) -> None:
    """Raise Forbidden for an API key that may not send events."""
    if sender.policies == SERVER_POLICIES and REQUIRED_SCOPE not in sender.scopes:
        raise Forbidden(
            "The API key may not send events.", hint=f"Make one with the scope {REQUIRED_SCOPE}."
        )


def _digest(key: str) -> str:
    return sha256(key.encode(errors="surrogatepass")).hexdigest()


class ProfileClient:
    """Sends events to profile. `session` may pool connections; `within_s` is for one call."""

    def __init__(
        self, session: aiohttp.ClientSession, url: str, tokens: ServiceTokens, within_s: float
    ) -> None:
        self._session = session
        self._url = url.rstrip("/")
        self._tokens = tokens
        self._timeout = aiohttp.ClientTimeout(total=within_s)

    async def send(self, sender: Principal, call: str, body: bytes, content_type: str) -> Response:
        """Profile's response to one call; raises ProfileUnavailable."""
        try:
            async with self._session.post(
                f"{self._url}/collect/v1/{call}",
                data=body,
                headers=self._headers(sender, content_type),
                timeout=self._timeout,
                allow_redirects=False,
            ) as response:
                body = await response.read()
                return _convert_response(response.status, body, response.content_type)
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


def _convert_response(status: int, body: bytes, content_type: str) -> Response:
    """Profile's response, except one on which libraries would drop their events."""
    if status in (401, 403, 404):
        raise ProfileUnavailable(
            "Profile does not accept events from this gateway.",
            hint="Both need one key pair and one release. Send the events again later.",
        )
    headers = {"Retry-After": "1"} if status in (429, 503) else None
    return Response(body, status, headers, content_type)


@dataclass(frozen=True, slots=True)
class SegmentApi:
    """One endpoint for all calls, by all their names."""

    senders: SenderAuthenticator
    profile: ProfileClient
    audit: AuditLog
    limits: BodyLimits
    admission: Admission
    is_production: bool

    def routes(self) -> list[Route]:
        calls = (Route(f"/v1/{name}", self._respond, methods=["POST"]) for name in CALLS)
        return [*calls, Route(SETTINGS_PATH, self._respond_settings, methods=["GET"])]

    async def _respond_settings(self, request: Request) -> Response:
        """Where a page with a write key sends its events: here, and to nobody else."""
        key = request.path_params["key"]
        try:
            self.admission.arrive(_limit_key(self.senders.authenticate_page(key)))
        except RaakError as refusal:
            return _format_refusal(refusal)
        # TLS may end before the gateway: in production pages send by HTTPS, whatever came here.
        protocol = "https" if self.is_production else request.url.scheme
        here = {"apiKey": key, "apiHost": f"{request.url.netloc}/v1", "protocol": protocol}
        settings = {"integrations": {"Segment.io": here}, "metrics": {"sampleRate": 0}}
        headers = {"Cache-Control": f"private, max-age={SETTINGS_MAX_AGE_S}"}
        return Response(orjson.dumps(settings), headers=headers, media_type="application/json")

    async def _respond(self, request: Request) -> Response:
        try:
            return await self._forward(request)
        except RaakError as refusal:
            return _format_refusal(refusal)

    async def _forward(self, request: Request) -> Response:
        headers = read_headers(request.scope)
        call = CALLS[request.url.path.rpartition("/")[2]]
        content_type = headers.get("content-type", "application/json")
        sender = None
        if not CREDENTIAL_HEADERS.isdisjoint(headers):
            sender = self._authenticate(_key_in_headers(headers), call)
            self.admission.arrive(_limit_key(sender))
        body = await read_body(request.receive, headers, self.limits)
        document = _parse(json_in(body, content_type), is_required=sender is None)
        sender = sender or self._authenticate(_key_in_body(document), call)
        visit = AuditEntry(self.audit, sender, *read_events(call, document))
        await visit.begin()
        # Not before its body is there: a slow sender would hold a place that others need.
        with self.admission.enter(_limit_key(sender), INGEST) as ticket:
            try:
                response = await self.profile.send(sender, call, body, content_type)
            except BaseException as error:  # even what was cancelled may have been stored
                visit.record_failure(error)
                raise
            visit.record_answer({"errors": _errors_in(response)})
            ticket.is_whole = response.status_code < 400
        return response

    def _authenticate(self, key: str | None, call: str) -> Principal:
        """The sender with a key; a refusal of a known one is recorded in the audit log."""
        sender = self.senders.authenticate(key)
        try:
            _check_scope(sender)
        except Forbidden as refusal:
            AuditEntry(self.audit, sender, AuditedEvents(call), ()).record_failure(refusal)
            raise
        return sender


CREDENTIAL_HEADERS = frozenset({"authorization", "x-api-key"})


def _key_in_headers(headers: Mapping[str, str]) -> str | None:
    """The key in the headers; None if they hold something else."""
    if "authorization" not in headers:
        return headers["x-api-key"]
    scheme, _, credentials = headers["authorization"].partition(" ")
    read_key = {"basic": _user_name, "bearer": _api_key}.get(scheme.lower())
    return read_key(credentials) if read_key else None


def _user_name(credentials: str) -> str | None:
    try:
        return b64decode(credentials, validate=True).decode().partition(":")[0]
    except (NotBase64, ValueError):
        return None


def _api_key(credentials: str) -> str | None:
    """The API key of a bearer; a token is for the graph only."""
    return credentials if credentials.startswith(PREFIX) else None


def _parse(text: bytes, *, is_required: bool) -> Any:
    """The JSON of a body; None if it is not JSON, for profile will say so.

    Raises UnreadableBody instead where the key has to be in it.
    """
    try:
        return parse_json(text)
    except orjson.JSONDecodeError as error:
        if not is_required:
            return None
        raise UnreadableBody(
            f"The body is not JSON in UTF-8 (line {error.lineno}, column {error.colno}), and there "
            "is no Authorization header.",
            hint="Send JSON, whatever the content type says, and the write key with it.",
        ) from None


def _key_in_body(document: Any) -> str | None:
    key = document.get("writeKey") if isinstance(document, dict) else None
    return key if isinstance(key, str) else None


def _errors_in(response: Response) -> list[dict[str, Any]]:
    """What profile refused, of the request or of single events, as `errors`."""
    body = _parse(bytes(response.body), is_required=False)
    refusals = [body.get("error"), *body.get("rejected", ())] if isinstance(body, dict) else []
    errors = [{"extensions": refusal} for refusal in refusals if refusal]
    return errors or ([{}] if response.status_code != 200 else [])


def _format_refusal(refusal: RaakError) -> Response:
    response = format_refusal(refusal)
    if isinstance(refusal, InvalidWriteKey):
        response.headers["www-authenticate"] = 'Basic realm="write key"'
    return response
