import assert from "node:assert/strict";
import { after, test } from "node:test";
import { type RaakError, createRaak } from "../src/index";
import persisted from "../src/generated/persisted-documents.json" with { type: "json" };
import { type Answer, events, json, makeToken, refusal, serveAnswers, signal } from "./gateway";

const servers: Array<() => Promise<void>> = [];
after(() => Promise.all(servers.map((close) => close())));

const PROPOSITION = {
  id: "p-1",
  rank: 1,
  reason: "You look at jazz.",
  content: { title: "Jazz weeks" },
  trackingCode: "a".repeat(26),
  action: { key: "jazz_weeks", name: "Jazz weeks", kind: "OFFER" },
};
const decision = (...propositions: object[]) =>
  json({ data: { nextBestActions: { id: "d-1", degraded: null, customer: null, propositions } } });
const activity = (kind: string) => ({ data: { customerActivity: { id: "a", at: "2026-11-30T12:00:00Z", kind } } });

async function open(...answers: Answer[]) {
  const { url, received, close } = await serveAnswers(...answers);
  servers.push(close);
  const pauses: number[] = [];
  const tokens: string[] = [];
  let token = () => makeToken();
  const raak = createRaak({
    url: `${url}/`,
    getToken: async () => (tokens.push(token()), tokens.at(-1)!),
    pause: async (ms) => void pauses.push(ms),
  });
  return { raak, received, pauses, tokens, giveTokens: (next: () => string) => (token = next), close };
}

test("offers are asked for by hash, for whom the token names", async () => {
  const { raak, received } = await open(decision(PROPOSITION));

  const offers = await raak.offers("home", { context: { page: "front" } });

  assert.deepEqual(offers, [PROPOSITION]);
  assert.match(persisted[received[0]!.documentId as keyof typeof persisted], /^query Offers/);
  assert.deepEqual(received[0]!.variables, {
    customer: { identity: { type: "anonymous_id", value: "v-42" } },
    channel: "WEB",
    placement: "home",
    context: { page: "front" },
  });
});

test("a customer's id in a token is how they are named", async () => {
  const { raak, received, giveTokens } = await open(decision());
  giveTokens(() => makeToken({ id: "c-1" }));

  await raak.offers("home");

  assert.deepEqual(received[0]!.variables.customer, { id: "c-1" });
});

test("a gateway where the hash is not registered gets the text, from then on at once", async () => {
  const { raak, received } = await open(refusal("PERSISTED_QUERY_NOT_FOUND", 400), decision());

  await raak.offers("home");
  await raak.offers("home");

  assert.equal(received[1]!.documentId, undefined);
  assert.match(received[1]!.query!, /query Offers/);
  assert.match(received[2]!.query!, /query Offers/);
});

test("one token serves many requests, until shortly before it expires", async () => {
  const { raak, tokens, giveTokens } = await open(decision());

  await raak.offers("home");
  await raak.offers("home");
  assert.equal(tokens.length, 1);

  giveTokens(() => makeToken(undefined, 10));
  raak.renew();
  await raak.offers("home");
  await raak.offers("home");
  assert.equal(tokens.length, 3);
});

test("a token that is refused is changed for another", async () => {
  const { raak, received, tokens, giveTokens } = await open(refusal("UNAUTHENTICATED", 401), decision());
  let number = 0;
  giveTokens(() => makeToken({ id: `c-${++number}` }));

  await raak.offers("home");

  assert.deepEqual(received.map(({ token }) => token), tokens);
  assert.equal(tokens.length, 2);
});

test("a browser whose clock is wrong asks for no more tokens", async () => {
  const { raak, tokens, giveTokens } = await open(decision());
  giveTokens(() => makeToken(undefined, 900, Date.now() / 1000 - 7_200));

  await raak.offers("home");
  await raak.offers("home");

  assert.equal(tokens.length, 1);
});

test("requests at the same time share one token", async () => {
  const { raak, tokens } = await open(decision());

  await Promise.all([raak.offers("home"), raak.offers("basket"), raak.offers("home")]);

  assert.equal(tokens.length, 1);
});

test("a busy gateway is asked again after as long as it says, else after longer and longer", async () => {
  const { raak, pauses } = await open(
    json({ errors: [] }, 503, { "retry-after": "7" }),
    json({ errors: [] }, 429),
    json({ errors: [] }, 502),
    decision(PROPOSITION),
  );

  assert.equal((await raak.offers("home")).length, 1);
  assert.deepEqual(pauses, [7_000, 1_000, 2_000]);
});

test("a gateway that stays busy is an error with its code", async () => {
  const { raak, received } = await open(refusal("OVERLOADED", 503));

  await assert.rejects(raak.offers("home"), { name: "RaakError", code: "OVERLOADED" });
  assert.equal(received.length, 4);
});

test("a gateway that is not there is an error", async () => {
  const { raak, close } = await open(decision());
  await close();

  await assert.rejects(raak.offers("home"), { code: "UNREACHABLE" });
});

test("a refusal is an error with its code and hint, and is not sent again", async () => {
  const { raak, received } = await open(refusal("DECISION_UNKNOWN_PLACEMENT", 200, "There are home and basket."));

  await assert.rejects(raak.offers("hom"), (error: RaakError) => {
    assert.equal(error.code, "DECISION_UNKNOWN_PLACEMENT");
    assert.equal(error.hint, "There are home and basket.");
    return true;
  });
  assert.equal(received.length, 1);
});

test("what getToken gives must be a token of a customer", async () => {
  const { raak, giveTokens } = await open(decision());
  giveTokens(() => "nonsense");

  await assert.rejects(raak.offers("home"), { code: "INVALID_TOKEN" });
});

test("the same outcome has the same idempotency key", async () => {
  const { raak, received } = await open(json({ data: { recordOutcome: { kind: "CLICKED" } } }));

  await raak.recordOutcome(PROPOSITION, "CLICKED");
  await raak.recordOutcome(PROPOSITION, "CLICKED");

  const inputs = received.map(({ variables }) => variables.input);
  assert.deepEqual(inputs[0], { proposition: "p-1", kind: "CLICKED", idempotencyKey: "p-1/CLICKED" });
  assert.deepEqual(inputs[0], inputs[1]);
});

test("activities arrive, and a stream that ended is begun again", async () => {
  const { raak, received, pauses } = await open(
    events(activity("WATCHING")),
    events({ errors: [{ message: "Who?", extensions: { code: "UNKNOWN_CUSTOMER" } }] }),
    events(activity("EVENT")),
  );
  const seen: string[] = [];
  const done = signal();

  const end = raak.watch(({ kind }) => {
    seen.push(kind);
    if (seen.length === 2) done.resolve();
  });
  await done.promise;
  end();

  assert.deepEqual(seen.slice(0, 2), ["WATCHING", "EVENT"]);
  assert.equal(received[0]!.accept, "text/event-stream");
  assert.deepEqual(pauses.slice(0, 2), [500, 1_000]);
});

test("a subscription that is refused says so and is not begun again", async () => {
  const { raak, received } = await open(events({ errors: [{ message: "No.", extensions: { code: "FORBIDDEN" } }] }));
  const refused = signal<RaakError>();

  raak.watch(() => {}, refused.resolve);

  assert.equal((await refused.promise).code, "FORBIDDEN");
  assert.equal(received.length, 1);
});

test("offers follow what happens, and what customers see already stays as it was", async () => {
  const JAZZ = PROPOSITION;
  const SOUL = { ...PROPOSITION, action: { ...PROPOSITION.action, key: "soul_weeks" } };
  const answers = [[JAZZ], [JAZZ], [SOUL, JAZZ]];
  const answered = signal();
  let asked = 0;
  const answer: Answer = (received, response) => {
    if (received.accept === "text/event-stream") {
      response.writeHead(200, { "content-type": "text/event-stream" });
      const send = (kind: string) => response.write(`event: next\ndata: ${JSON.stringify(activity(kind))}\n\n`);
      send("WATCHING");
      send("EVENT");
      answered.promise.then(() => send("PROFILE_CHANGED"));
      return;
    }
    const offers = answers[asked++]!.map((each) => ({ ...each, id: `${each.action.key} ${asked}` }));
    if (asked === 2) response.once("finish", () => answered.resolve());
    decision(...offers)(received, response);
  };
  const { raak } = await open(answer);
  const shown: string[][] = [];
  const done = signal();

  const end = raak.followOffers(
    "home",
    (offers) => {
      shown.push(offers.map(({ id }) => id));
      if (shown.length === 2) done.resolve();
    },
    assert.fail,
  );
  await done.promise;
  end();

  assert.deepEqual(shown, [["jazz_weeks 1"], ["soul_weeks 3", "jazz_weeks 1"]]);
});

test("a tab that nobody looks at asks nothing, and asks when it is looked at", async () => {
  const tab = Object.assign(new EventTarget(), { hidden: true });
  Object.assign(globalThis, { document: tab });
  const decided = signal();
  const { raak, received } = await open((one, response) => {
    if (one.accept === "text/event-stream") response.writeHead(200, { "content-type": "text/event-stream" }).write(":\n\n");
    else decision(PROPOSITION)(one, response);
  });
  const look = (hidden: boolean) => {
    tab.hidden = hidden;
    tab.dispatchEvent(new Event("visibilitychange"));
  };

  const end = raak.followOffers("home", () => decided.resolve(), assert.fail);
  look(true);
  assert.equal(received.length, 0);
  look(false);
  await decided.promise;
  end();
  Reflect.deleteProperty(globalThis, "document");

  assert.deepEqual(new Set(received.map(({ accept }) => accept)), new Set(["text/event-stream", "application/graphql-response+json"]));
});
