import { type GraphQLError, RaakError, toRaakError } from "./errors";
import type { TypedDocumentString } from "./generated/graphql";
import { readEvents } from "./event_stream";
import type { Session, SessionSource } from "./session";

const RETRIES = 3;
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 30_000;
const RETRYABLE = new Set([408, 429, 502, 503, 504]);
const NOT_REGISTERED = new Set(["PERSISTED_QUERY_NOT_FOUND", "PERSISTED_QUERY_NOT_SUPPORTED"]);

type Document<R, V> = TypedDocumentString<R, V>;

/** Sends operations by their hash, or as text to a gateway where the hash is not registered. */
export class Transport {
  private sendsText = false;

  constructor(
    private readonly url: string,
    private readonly sessions: SessionSource,
    private readonly pause: (ms: number) => Promise<void>,
  ) {}

  /** What an operation answers; raises RaakError. Sent again when the gateway is away or busy. */
  async request<R, V>(document: Document<R, V>, variables: (session: Session) => V, init: RequestInit = {}): Promise<R> {
    for (let attempt = 0; ; attempt++) {
      const response = await this.send(document, variables, "application/graphql-response+json", init);
      if (!(response instanceof RaakError) && !isRetryable(response)) {
        const { data, errors = [] } = await response.json();
        if (this.mustSendText(errors)) continue;
        if (response.status === 401 && attempt < RETRIES) continue;
        if (!errors.length || (data && Object.values(data).every((value) => value != null))) return data;
        throw toRaakError(errors[0]);
      }
      if (attempt >= RETRIES) throw await toError(response);
      await this.pause(pauseAfter(response, attempt));
    }
  }

  /** Hand over each response of a subscription until `signal`; raises RaakError when it is refused. */
  async subscribe<R, V>(
    document: Document<R, V>,
    variables: (session: Session) => V,
    onData: (data: R) => void,
    signal: AbortSignal,
  ): Promise<void> {
    for (let failures = 0; !signal.aborted; ) {
      const response = await this.send(document, variables, "text/event-stream", { signal });
      if (!(response instanceof RaakError) && response.body && response.ok) {
        const errors: GraphQLError[] = [];
        for await (const result of readEvents(response.body)) {
          if (result.errors) errors.push(...result.errors);
          if (result.data) {
            failures = 0;
            onData(result.data);
          }
        }
        if (signal.aborted || this.mustSendText(errors)) continue;
        if (errors.length && !isTransient(errors[0]!)) throw toRaakError(errors[0]!);
      } else if (!(response instanceof RaakError) && !isRetryable(response)) {
        if (response.status !== 401 || failures >= RETRIES) throw await toError(response);
      }
      await this.pause(pauseAfter(response, failures++));
    }
  }

  private async send<R, V>(
    document: Document<R, V>,
    variables: (session: Session) => V,
    accept: string,
    init: RequestInit,
  ): Promise<Response | RaakError> {
    const name = this.sendsText ? { query: `${document}` } : { documentId: document.__meta__?.hash };
    try {
      const session = await this.sessions.get();
      const response = await fetch(`${this.url}/graphql`, {
        method: "POST",
        headers: { Authorization: `Bearer ${session.token}`, "Content-Type": "application/json", Accept: accept },
        body: JSON.stringify({ ...name, variables: variables(session) }),
        credentials: "omit",
        ...init,
      });
      if (response.status === 401) this.sessions.drop();
      return response;
    } catch (error) {
      if (error instanceof RaakError) return error;
      return new RaakError("UNREACHABLE", "Raak does not answer.", "Check its address, and RAAK_GATEWAY_CORS_ORIGINS.");
    }
  }

  private mustSendText(errors: GraphQLError[]): boolean {
    const isUnknown = !this.sendsText && errors.some((error) => NOT_REGISTERED.has(error.extensions?.code ?? ""));
    if (isUnknown) this.sendsText = true;
    return isUnknown;
  }
}

const isRetryable = (response: Response) => RETRYABLE.has(response.status);

/** What ends a subscription that may be begun again: the customer has yet to do something, or the gateway has trouble. */
const isTransient = ({ extensions }: GraphQLError) =>
  /^(UNKNOWN_CUSTOMER|LIVE_UNAVAILABLE|RATE_LIMITED|CLIENT_TOO_SLOW|UNAUTHENTICATED|SUBGRAPH_.*)$/.test(extensions?.code ?? "");

function pauseAfter(response: Response | RaakError, failures: number): number {
  const asked = response instanceof RaakError ? 0 : Number(response.headers.get("Retry-After")) * 1000;
  return Math.min(asked || FIRST_PAUSE_MS * 2 ** failures, LONGEST_PAUSE_MS);
}

async function toError(response: Response | RaakError): Promise<RaakError> {
  if (response instanceof RaakError) return response;
  const body = await response.json().catch(() => ({}));
  return toRaakError(body.errors?.[0] ?? { message: `Raak answers ${response.status}.` });
}
