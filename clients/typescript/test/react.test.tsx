import assert from "node:assert/strict";
import { after, test } from "node:test";
import { JSDOM } from "jsdom";

const { window } = new JSDOM("<!doctype html><body></body>");
const observers: FakeIntersectionObserver[] = [];

/** jsdom lays nothing out: a test says what is in view. */
class FakeIntersectionObserver {
  isOver = false;
  constructor(private readonly callback: (entries: object[]) => void) {
    observers.push(this);
  }
  observe(): void {}
  disconnect(): void {
    this.isOver = true;
  }
  show(intersectionRatio: number, height = 0): void {
    if (!this.isOver) this.callback([{ intersectionRatio, intersectionRect: { height }, rootBounds: { height: 600 } }]);
  }
}

let isHidden = false;
Object.defineProperty(globalThis, "navigator", { value: window.navigator });
Object.defineProperty(window.document, "hidden", { get: () => isHidden });
Object.assign(globalThis, {
  window,
  document: window.document,
  IntersectionObserver: FakeIntersectionObserver,
  IS_REACT_ACT_ENVIRONMENT: true,
});
const { act } = await import("react");
const { createRoot } = await import("react-dom/client");
const { Offer, RaakProvider, useOffers } = await import("../src/react");
const { observePresented } = await import("../src/presented");
after(() => window.close());

const PROPOSITION: any = { id: "p-1", content: { title: "Jazz weeks" }, action: { key: "jazz_weeks" } };

function makeRaak() {
  const outcomes: unknown[][] = [];
  const followed: any[] = [];
  const raak: any = {
    recordOutcome: async (...outcome: unknown[]) => void outcomes.push(outcome),
    followOffers: (placement: string, onOffers: unknown, onError: unknown, request: unknown) => {
      const entry = { placement, onOffers, onError, request, isOver: false };
      followed.push(entry);
      return () => (entry.isOver = true);
    },
  };
  return { raak, outcomes, followed };
}

test("offers are followed while a component is there, and shown by <Offer>", async () => {
  const { raak, outcomes, followed } = makeRaak();
  const root = createRoot(document.createElement("main"));
  const seen: string[] = [];
  function Page({ items }: { items: number }) {
    const { offers, isLoading, error } = useOffers("basket", { context: { items } });
    seen.push(error?.code ?? (isLoading ? "loading" : offers.map(({ content }) => content.title).join()));
    return offers.map((each) => (
      <Offer key={each.id} proposition={each} className="card">
        {({ content }, report) => <button onClick={() => report("ACCEPTED")}>{content.title}</button>}
      </Offer>
    ));
  }
  const show = (items: number) =>
    act(() =>
      root.render(
        <RaakProvider raak={raak}>
          <Page items={items} />
        </RaakProvider>,
      ),
    );

  await show(1);
  await act(() => followed[0].onOffers([PROPOSITION]));
  await show(1);
  await act(() => followed[0].onError({ code: "OVERLOADED" }));
  await show(2);
  await act(() => root.unmount());

  assert.equal(seen[0], "loading");
  assert.ok(seen.includes("Jazz weeks"));
  assert.ok(seen.includes("OVERLOADED"));
  assert.deepEqual(
    followed.map(({ placement, request, isOver }) => [placement, request.context.items, isOver]),
    [
      ["basket", 1, true],
      ["basket", 2, true],
    ],
  );
  assert.ok(observers.every(({ isOver }) => isOver));
  assert.deepEqual(outcomes, []);
});

function observe(context: any) {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const { raak, outcomes } = makeRaak();
  const end = observePresented(raak, document.body, PROPOSITION);
  return { observer: observers.at(-1)!, outcomes, end, tick: (ms: number) => context.mock.timers.tick(ms) };
}

function setHidden(value: boolean): void {
  isHidden = value;
  document.dispatchEvent(new window.Event("visibilitychange"));
}

test("half of it in view for a second is presented, once", (context) => {
  const { observer, outcomes, tick } = observe(context);

  observer.show(0.5);
  tick(999);
  assert.deepEqual(outcomes, []);
  tick(1);
  observer.show(0);
  observer.show(1);
  tick(5_000);

  assert.deepEqual(outcomes, [[PROPOSITION, "PRESENTED"]]);
});

test("less than half, or less than a second on end, is not", (context) => {
  const { observer, outcomes, tick } = observe(context);

  observer.show(0.49);
  tick(5_000);
  observer.show(0.6);
  tick(900);
  observer.show(0.4);
  observer.show(0.6);
  tick(900);

  assert.deepEqual(outcomes, []);
});

test("nobody looks at a hidden tab", (context) => {
  const { observer, outcomes, tick } = observe(context);

  observer.show(1);
  tick(900);
  setHidden(true);
  tick(5_000);
  assert.deepEqual(outcomes, []);
  setHidden(false);
  tick(1_000);

  assert.equal(outcomes.length, 1);
});

test("of what is larger than the window, half a window counts", (context) => {
  const { observer, outcomes, tick } = observe(context);

  observer.show(0.1, 300);
  tick(1_000);

  assert.equal(outcomes.length, 1);
});

test("what has left the page is not presented any more", (context) => {
  const { observer, outcomes, end, tick } = observe(context);

  observer.show(1);
  end();
  tick(5_000);

  assert.deepEqual(outcomes, []);
});
