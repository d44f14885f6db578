export { createRaak } from "./client";
export type { Activity, OfferRequest, Proposition, Raak, RaakOptions, Reaction } from "./client";
export { RaakError } from "./errors";
export { observePresented } from "./presented";
export type { Channel, CustomerRef, OutcomeKind } from "./generated/graphql";
