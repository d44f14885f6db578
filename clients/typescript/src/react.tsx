import { type HTMLAttributes, type ReactNode, createContext, createElement, useContext, useEffect, useRef, useState } from "react";
import type { OfferRequest, Proposition, Raak, Reaction } from "./client";
import type { RaakError } from "./errors";
import { observePresented } from "./presented";

const Context = createContext<Raak | null>(null);

export function RaakProvider({ raak, children }: { raak: Raak; children?: ReactNode }) {
  return createElement(Context.Provider, { value: raak }, children);
}

export function useRaak(): Raak {
  const raak = useContext(Context);
  if (!raak) throw new Error("There is no <RaakProvider raak={…}> above this component.");
  return raak;
}

export interface Offers {
  offers: Proposition[];
  isLoading: boolean;
  /** Why the last request failed; the offers before it stay. */
  error?: RaakError;
}

/** The offers of a placement, kept up to date while the component is there. */
export function useOffers(placement: string, request?: OfferRequest): Offers {
  const raak = useRaak();
  const [state, setState] = useState<Offers>({ offers: [], isLoading: true });
  const key = JSON.stringify(request);
  useEffect(
    () =>
      raak.followOffers(
        placement,
        (offers) => setState({ offers, isLoading: false }),
        (error) => setState(({ offers }) => ({ offers, isLoading: false, error })),
        request,
      ),
    [raak, placement, key],
  );
  return state;
}

export interface OfferProps extends Omit<HTMLAttributes<HTMLElement>, "children"> {
  proposition: Proposition;
  /** What to show; `report` says what the customer does with it. */
  children: (proposition: Proposition, report: (kind: Reaction, reason?: string) => Promise<void>) => ReactNode;
}

/** An offer that reports PRESENTED by itself, as an `<article>`. */
export function Offer({ proposition, children, ...attributes }: OfferProps) {
  const raak = useRaak();
  const element = useRef<HTMLElement>(null);
  useEffect(() => observePresented(raak, element.current!, proposition), [raak, proposition.id]);
  const report = (kind: Reaction, reason?: string) => raak.recordOutcome(proposition, kind, reason);
  return createElement("article", { ...attributes, ref: element }, children(proposition, report));
}
