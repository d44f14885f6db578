import { RaakError } from "./errors";
import {
  type Channel,
  type ConsentStatus,
  type EventInput,
  OfferChangesDocument,
  type OfferChangesSubscription,
  OffersDocument,
  type OffersQuery,
  type OutcomeInput,
  type OutcomeKind,
  RecordOutcomeDocument,
  SetConsentDocument,
} from "./generated/graphql";
import { SessionSource } from "./session";
import { Transport } from "./transport";
import { loadVisitorId, makeVisitorId } from "./visitor";

/** Something happens at once, and what follows within this time is seen by the same request. */
const CALM_MS = 300;
const CHANGES = new Set(["EVENT", "PROFILE_CHANGED", "MERGED", "GAP"]);
const REACTIONS = new Set(["ACCEPTED", "REJECTED", "DISMISSED"]);

export type Activity = OfferChangesSubscription["customerActivity"];
type Decision = NonNullable<OffersQuery["nextBestActions"]>;
/** What to say to the customer, with `content` as your catalogue has it. */
export type Proposition<Content = Record<string, any>> = Omit<Decision["propositions"][number], "content"> & {
  content: Content;
};
/** What customers do with a proposition; PRESENTED is reported by `observePresented`. */
export type Reaction = Exclude<OutcomeKind, "CONVERTED">;

export interface OfferRequest {
  /** What they are doing right now; tracking it is still yours. */
  event?: EventInput;
  /** About the moment, such as the page; conditions read it as `context.<name>`. */
  context?: Record<string, unknown>;
}

export interface RaakOptions {
  /** The gateway's address, such as `https://raak.shop.example`. */
  url: string;
  /** A token for this visitor, or for who is logged in: your server gets it from `POST /tokens`. */
  getToken: (visitorId: string) => Promise<string>;
  channel?: Channel;
  /** How to wait before something is sent again. */
  pause?: (ms: number) => Promise<void>;
}

export interface Raak {
  /** The id of this browser, Segment's `anonymousId`. */
  readonly visitorId: string;
  offers(placement: string, request?: OfferRequest): Promise<Proposition[]>;
  /** Offers now, and again whenever they may differ, while the tab is looked at. Gives what ends it. */
  followOffers(
    placement: string,
    onOffers: (offers: Proposition[]) => void,
    onError: (error: RaakError) => void,
    request?: OfferRequest,
  ): () => void;
  /** Report a reaction. Reporting it again changes nothing. */
  recordOutcome(proposition: { id: string }, kind: Reaction, reason?: string): Promise<void>;
  setConsent(purpose: string, isGiven: boolean): Promise<void>;
  /** What happens with the customer, live. Gives what ends it. */
  watch(onActivity: (activity: Activity) => void, onError?: (error: RaakError) => void): () => void;
  /** They have logged in: get another token, and ask for everything anew. */
  renew(): void;
  /** They have logged out: the next one before this browser is another visitor. */
  reset(): void;
}

type Watcher = { onActivity: (activity: Activity) => void; onError: (error: RaakError) => void };

export function createRaak({ url, getToken, channel = "WEB", pause = sleep }: RaakOptions): Raak {
  let visitorId = loadVisitorId();
  const sessions = new SessionSource(() => getToken(visitorId));
  const transport = new Transport(url.replace(/\/$/, ""), sessions, pause);
  const watchers = new Set<Watcher>();
  const refreshes = new Set<() => void>();
  let stream: AbortController | undefined;

  // A tab that nobody looks at asks nothing: each offer counts as decided, and over HTTP/1.1 all tabs of a browser share
  // six connections to an address.
  globalThis.document?.addEventListener("visibilitychange", () => {
    if (document.hidden) close();
    else if (watchers.size) {
      open();
      refresh();
    }
  });

  function open(): void {
    if (stream || globalThis.document?.hidden) return;
    const current = (stream = new AbortController());
    transport
      .subscribe(
        OfferChangesDocument,
        ({ customer }) => ({ ref: customer }),
        ({ customerActivity }) => watchers.forEach(({ onActivity }) => onActivity(customerActivity)),
        current.signal,
      )
      .catch((error) => {
        if (stream === current) stream = undefined;
        watchers.forEach(({ onError }) => onError(error));
      });
  }

  function close(): void {
    stream?.abort();
    stream = undefined;
  }

  const raak: Raak = {
    get visitorId() {
      return visitorId;
    },

    async offers(placement, request = {}) {
      const { nextBestActions } = await transport.request(OffersDocument, ({ customer }) => ({
        customer,
        channel,
        placement,
        ...request,
      }));
      return (nextBestActions?.propositions ?? []) as Proposition[];
    },

    followOffers(placement, onOffers, onError, request) {
      let shown: Proposition[] | undefined;
      let timer: ReturnType<typeof setTimeout> | undefined;
      let asked = 0;
      let isOver = false;
      const ask = async () => {
        timer = undefined;
        if (globalThis.document?.hidden) return;
        const number = ++asked;
        try {
          const fresh = keepSame(shown ?? [], await raak.offers(placement, request));
          if (isOver || number !== asked || (shown && isEqual(shown, fresh))) return;
          onOffers((shown = fresh));
        } catch (error) {
          if (!isOver && number === asked) onError(error as RaakError);
        }
      };
      const askSoon = () => (timer ??= setTimeout(ask, CALM_MS));
      refreshes.add(askSoon);
      const unwatch = raak.watch(({ kind }) => CHANGES.has(kind) && askSoon());
      ask();
      return () => {
        isOver = true;
        clearTimeout(timer);
        refreshes.delete(askSoon);
        unwatch();
      };
    },

    async recordOutcome({ id }, kind, reason) {
      const input: OutcomeInput = { proposition: id, kind, reason, idempotencyKey: `${id}/${kind}` };
      await transport.request(RecordOutcomeDocument, () => ({ input }), { keepalive: true });
      if (REACTIONS.has(kind)) refresh();
    },

    async setConsent(purpose, isGiven) {
      const status: ConsentStatus = isGiven ? "GIVEN" : "DENIED";
      await transport.request(SetConsentDocument, ({ customer }) => ({ input: { customer, purpose, status } }));
      refresh();
    },

    watch(onActivity, onError = () => {}) {
      const watcher = { onActivity, onError };
      watchers.add(watcher);
      open();
      return () => {
        if (watchers.delete(watcher) && !watchers.size) close();
      };
    },

    renew() {
      sessions.drop();
      close();
      if (watchers.size) open();
      refresh();
    },

    reset() {
      visitorId = makeVisitorId();
      raak.renew();
    },
  };

  function refresh(): void {
    refreshes.forEach((askSoon) => askSoon());
  }

  return raak;
}

/** The fresh propositions, but those a customer sees already as they are: what was reported of them holds. */
function keepSame(shown: Proposition[], fresh: Proposition[]): Proposition[] {
  const look = ({ action, content, reason }: Proposition) => JSON.stringify([action.key, content, reason]);
  const byLook = new Map(shown.map((each) => [look(each), each]));
  return fresh.map((each) => byLook.get(look(each)) ?? each);
}

const isEqual = (one: Proposition[], other: Proposition[]) =>
  one.length === other.length && one.every(({ id }, position) => id === other[position]!.id);

const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));
