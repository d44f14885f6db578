import { type RaakError, createRaak } from "@raak/client";
import { Offer, RaakProvider, useOffers, useRaak } from "@raak/client/react";
import { type FormEvent, useEffect, useMemo, useRef, useState } from "react";
import { render } from "preact/compat";
import { type Disc, SHELF } from "./shelf";

interface Session {
  raakUrl: string;
  writeKey: string;
  userId: string | null;
}

interface Choices {
  personalisation: boolean;
  analytics: boolean;
}

type Analytics = ReturnType<typeof import("./analytics.js").loadAnalytics>;

const CHOICES = "shop_choices";
const MONEY = new Intl.NumberFormat("en", { style: "currency", currency: "USD" });

async function post(path: string, body: object = {}): Promise<any> {
  const response = await fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.problem);
  return answer;
}

function Shop({ session }: { session: Session }) {
  const raak = useRaak();
  const [userId, setUserId] = useState(session.userId);
  const [choices, setChoices] = useState<Choices | null>(() => JSON.parse(localStorage.getItem(CHOICES) ?? "null"));
  const [isAsking, setAsking] = useState(choices === null);
  const [basket, setBasket] = useState<Disc[]>([]);
  const [open, setOpen] = useState<Disc | null>(null);
  const analytics = useRef<Promise<Analytics> | null>(null);

  useEffect(() => {
    if (choices?.analytics)
      analytics.current ??= import("./analytics.js").then(({ loadAnalytics }) =>
        loadAnalytics(session.raakUrl, session.writeKey, raak.visitorId),
      );
  }, [choices]);

  async function track(event: string, properties: object) {
    if (choices?.analytics) (await analytics.current)?.track(event, properties);
  }

  async function choose(chosen: Choices) {
    localStorage.setItem(CHOICES, JSON.stringify(chosen));
    setChoices(chosen);
    setAsking(false);
    for (const [purpose, isGiven] of Object.entries(chosen)) await raak.setConsent(purpose, isGiven);
  }

  function look(disc: Disc) {
    setOpen(disc);
    track("product_viewed", { sku: disc.sku, product: disc.title, genre: disc.genre, price: disc.price });
  }

  function buy(disc: Disc) {
    setBasket([...basket, disc]);
    setOpen(null);
    track("product_added", { sku: disc.sku, product: disc.title, genre: disc.genre, price: disc.price });
  }

  async function logIn(email: string) {
    const { userId, claim } = await post("/login", { visitorId: raak.visitorId, email });
    if (choices?.analytics) await (await analytics.current)?.identify(userId, claim);
    setUserId(userId);
    raak.renew();
  }

  async function logOut() {
    await post("/logout");
    raak.reset();
    (await analytics.current)?.forget(raak.visitorId);
    setUserId(null);
  }

  return (
    <>
      <header>
        <a href="#top" className="name" id="top">
          Needle <i>&amp;</i> Groove
        </a>
        <nav aria-label="Shop">
          <a href="#shelf">Records</a>
          <a href="#basket">
            Basket <b id="count">{basket.length}</b>
          </a>
          <Account userId={userId} onLogIn={logIn} onLogOut={logOut} />
        </nav>
      </header>
      <main>
        <section className="hero">
          <h1>
            Second-hand records,
            <br /> first-rate listening.
          </h1>
          <p>Played, cleaned and graded by hand, in a cellar that smells of cardboard and coffee.</p>
        </section>
        <HomeOffers />
        <section id="shelf" aria-labelledby="shelf-title">
          <h2 id="shelf-title">Fresh in the bins</h2>
          <ul className="shelf">
            {SHELF.map((disc) => (
              <li key={disc.sku}>
                <button className={`sleeve ${disc.genre}`} onClick={() => look(disc)} aria-label={`Look at ${disc.title} by ${disc.artist}`}>
                  <span className="vinyl" />
                  <span className="cover">
                    <b>{disc.title}</b>
                    <small>{disc.artist}</small>
                  </span>
                </button>
                <p className="about">
                  <span>
                    {disc.genre} · {disc.year}
                  </span>
                  <b>{MONEY.format(disc.price)}</b>
                </p>
                <button className="plain" onClick={() => buy(disc)}>
                  Add to basket
                </button>
              </li>
            ))}
          </ul>
        </section>
        <Basket basket={basket} />
      </main>
      <footer>
        <p>Needle &amp; Groove exists in this example only. Offers by Raak.</p>
        <button className="plain" id="privacy" onClick={() => setAsking(true)}>
          Privacy choices
        </button>
      </footer>
      {open && <Details disc={open} onBuy={buy} onClose={() => setOpen(null)} />}
      {isAsking && <Consent choices={choices} onChoose={choose} />}
    </>
  );
}

function HomeOffers() {
  const { offers, isLoading, error } = useOffers("home");
  return (
    <section aria-labelledby="offers-title">
      <h2 id="offers-title">For you</h2>
      <div className="offers" id="home-offers" aria-live="polite" aria-busy={isLoading}>
        {offers.map((proposition) => (
          <OfferCard key={proposition.id} proposition={proposition} />
        ))}
        {isLoading && <p className="quiet">One moment…</p>}
        {error && <p className="quiet">Offers are out for lunch ({error.code}). The records are not.</p>}
      </div>
    </section>
  );
}

function OfferCard({ proposition }: { proposition: Parameters<typeof Offer>[0]["proposition"] }) {
  const [reaction, setReaction] = useState("");
  return (
    <Offer proposition={proposition} className="offer" data-action={proposition.action.key}>
      {({ content, reason, action }, report) => {
        const react = (kind: "ACCEPTED" | "DISMISSED") => {
          setReaction(kind);
          report(kind).catch(() => setReaction(""));
        };
        return (
          <>
            <p className="kind">{action.kind === "OFFER" ? "Offer" : action.kind === "REQUEST" ? "A question" : "Good to know"}</p>
            <h3>{content.title ?? action.name}</h3>
            <p>{reason}</p>
            {content.code && (
              <p>
                Code <code>{content.code}</code>
              </p>
            )}
            <div className="row">
              <button className="main" disabled={!!reaction} onClick={() => react("ACCEPTED")}>
                {reaction === "ACCEPTED" ? "Done" : "Yes, please"}
              </button>
              <button className="plain" disabled={!!reaction} onClick={() => react("DISMISSED")}>
                Not now
              </button>
            </div>
          </>
        );
      }}
    </Offer>
  );
}

function Basket({ basket }: { basket: Disc[] }) {
  const request = useMemo(() => ({ context: { basket_items: basket.length } }), [basket.length]);
  const { offers } = useOffers("basket", request);
  const total = basket.reduce((sum, { price }) => sum + price, 0);
  return (
    <section id="basket" aria-labelledby="basket-title">
      <h2 id="basket-title">Your basket</h2>
      <div className="basket">
        <div>
          {basket.length === 0 && <p className="quiet">Nothing in it yet.</p>}
          <ul>
            {basket.map((disc, position) => (
              <li key={position}>
                <span>
                  {disc.title} <small>{disc.artist}</small>
                </span>
                <b>{MONEY.format(disc.price)}</b>
              </li>
            ))}
          </ul>
          {basket.length > 0 && (
            <p className="total">
              <span>Together</span>
              <b>{MONEY.format(total)}</b>
            </p>
          )}
        </div>
        <div className="offers" id="basket-offers" aria-live="polite">
          {offers.map((proposition) => (
            <OfferCard key={proposition.id} proposition={proposition} />
          ))}
        </div>
      </div>
    </section>
  );
}

function Account(props: { userId: string | null; onLogIn: (email: string) => Promise<void>; onLogOut: () => void }) {
  const [isOpen, setOpen] = useState(false);
  const [problem, setProblem] = useState("");
  if (props.userId)
    return (
      <button className="plain" id="account" onClick={props.onLogOut}>
        {props.userId} · log out
      </button>
    );

  async function submit(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    try {
      await props.onLogIn(String(new FormData(event.currentTarget).get("email")));
      setOpen(false);
    } catch (error) {
      setProblem((error as Error).message);
    }
  }

  return (
    <>
      <button className="plain" id="account" onClick={() => setOpen(true)}>
        Log in
      </button>
      {isOpen && (
        <Dialog title="Log in" onClose={() => setOpen(false)}>
          <form onSubmit={submit} className="login">
            <label>
              E-mail
              <input name="email" type="email" required autoFocus defaultValue="cdnow-00042@example.com" />
            </label>
            <p className="quiet">No password: this shop believes everybody. Yours should not.</p>
            {problem && <p role="alert">{problem}</p>}
            <button className="main">Log in</button>
          </form>
        </Dialog>
      )}
    </>
  );
}

function Details({ disc, onBuy, onClose }: { disc: Disc; onBuy: (disc: Disc) => void; onClose: () => void }) {
  return (
    <Dialog title={disc.title} onClose={onClose}>
      <div className="details">
        <div className={`sleeve ${disc.genre}`} aria-hidden="true">
          <span className="vinyl" />
          <span className="cover">
            <b>{disc.title}</b>
            <small>{disc.artist}</small>
          </span>
        </div>
        <div>
          <p className="kind">
            {disc.artist} · {disc.year}
          </p>
          <p>{disc.note}</p>
          <p>
            <b>{MONEY.format(disc.price)}</b>
          </p>
          <button className="main" onClick={() => onBuy(disc)}>
            Add to basket
          </button>
        </div>
      </div>
    </Dialog>
  );
}

function Dialog(props: { title: string; onClose: () => void; children: any }) {
  const element = useRef<HTMLDialogElement>(null);
  useEffect(() => element.current!.showModal(), []);
  return (
    <dialog ref={element} onClose={props.onClose} aria-label={props.title}>
      <button className="plain close" onClick={() => element.current!.close()} aria-label="Close">
        ✕
      </button>
      <h2>{props.title}</h2>
      {props.children}
    </dialog>
  );
}

function Consent({ choices, onChoose }: { choices: Choices | null; onChoose: (choices: Choices) => void }) {
  function submit(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    onChoose({ personalisation: form.has("personalisation"), analytics: form.has("analytics") });
  }

  return (
    <aside className="consent" role="region" aria-label="Privacy choices">
      <form onSubmit={submit}>
        <h2>Before you dig in</h2>
        <p>Which offers you see, and what you make of them, is counted. More only if you say so; change it below at any time.</p>
        <label>
          <input type="checkbox" name="personalisation" defaultChecked={choices?.personalisation} />
          <span>
            <b>Personal offers</b> that fit what you have bought and looked at
          </span>
        </label>
        <label>
          <input type="checkbox" name="analytics" defaultChecked={choices?.analytics} />
          <span>
            <b>What I look at</b> may be remembered, by this shop only
          </span>
        </label>
        <div className="row">
          <button type="button" className="main" id="allow" onClick={() => onChoose({ personalisation: true, analytics: true })}>
            Allow both
          </button>
          <button type="button" className="main" id="refuse" onClick={() => onChoose({ personalisation: false, analytics: false })}>
            Refuse both
          </button>
          <button className="plain">Save my choice</button>
        </div>
      </form>
    </aside>
  );
}

const session: Session = await (await fetch("/session")).json();
const raak = createRaak({
  url: session.raakUrl,
  getToken: async (visitorId) => (await post("/token", { visitorId })).token,
});
render(
  <RaakProvider raak={raak}>
    <Shop session={session} />
  </RaakProvider>,
  document.querySelector("#shop")!,
);
