/* eslint-disable */
/** Internal type. DO NOT USE DIRECTLY. */
type Exact<T extends { [key: string]: unknown }> = { [K in keyof T]: T[K] };
/** Internal type. DO NOT USE DIRECTLY. */
export type Incremental<T> = T | { [P in keyof T]?: P extends ' $fragmentName' | '__typename' ? T[P] : never };
import type { DocumentTypeDecoration } from '@graphql-typed-document-node/core';
/** What an action is for. Contact policies can speak of it. */
export type ActionKind =
  /** Help in using or choosing something, with nothing to sell. */
  | 'ADVICE'
  /** Something to buy or take up. */
  | 'OFFER'
  /** Something asked of the customer, such as a review or consent. */
  | 'REQUEST'
  /** News the customer needs, such as a late parcel. */
  | 'SERVICE_MESSAGE';

/** What happened with a customer, or with the feed that reports it. */
export type ActivityKind =
  /** Offers were decided on for them: `decision`. */
  | 'DECISION'
  /** They did something: `event`. */
  | 'EVENT'
  /** Something may have happened that was not reported: read the customer again. */
  | 'GAP'
  /** Nothing can be reported for now. It goes on by itself, with a GAP. */
  | 'INTERRUPTED'
  /** A journey came to its end: `journey`. */
  | 'JOURNEY_ENDED'
  /** They came to a step of a journey: `journey`. */
  | 'JOURNEY_STEP'
  /** Two customers became one: `merge`. Subscriptions to either go on with the one that remains. */
  | 'MERGED'
  /** A journey has something to say to them: `message`, of `journey`. */
  | 'MESSAGE'
  /** They reacted to an offer: `outcome`, of `decision`. */
  | 'OUTCOME'
  /** Something about them is different: `changes`. */
  | 'PROFILE_CHANGED'
  /** From here on everything is reported. What is read of the customer now misses nothing. */
  | 'WATCHING';

/** Where a customer is spoken to. Treatments, messages and results are per channel. */
export type Channel =
  /** The company's own app, while it is open. */
  | 'APP'
  /** An agent speaks with the customer, by phone or chat. */
  | 'CALL_CENTRE'
  /** An e-mail message. */
  | 'EMAIL'
  /** Advertisements bought on sites and apps of others. */
  | 'PAID_MEDIA'
  /** A notification an app shows while it is closed. */
  | 'PUSH'
  /** A text message to a phone. */
  | 'SMS'
  /** A shop, at the till or a terminal. */
  | 'STORE'
  /** A web site, in any browser. */
  | 'WEB';

/** A customer's choice on one purpose. */
export type ConsentInput = {
  /** When they chose; now if left out. The latest choice counts, in whatever order they come. */
  at?: string | null | undefined;
  /** Whose choice it is. An identity nobody has makes a new customer. */
  customer: CustomerRef;
  /** The legal ground; null is CONSENT, the only one browsers and apps may give. */
  lawfulBasis?: LawfulBasis | null | undefined;
  /** What the data or contact is for, as actions and journeys name it: `email_marketing`. */
  purpose: string;
  /** The system it was asked in, a word of your own. Browsers and apps may say `segment` or `graph` only. */
  source?: string | null | undefined;
  /** What they chose. */
  status: ConsentStatus;
};

/** What a customer chose for a purpose. In conditions `consent.<purpose>` is true, false or missing by it. */
export type ConsentStatus =
  /** Never asked, and no by default; false in conditions. XDM's dn. */
  | 'DEFAULT_DENIED'
  /** Never asked, and yes by default; true in conditions. XDM's dy. */
  | 'DEFAULT_GIVEN'
  /** They said no; false in conditions. Counts whoever reports it. XDM's n. */
  | 'DENIED'
  /** They said yes; true in conditions. XDM's y. */
  | 'GIVEN'
  /** They were asked and have not answered, as in a double opt-in; missing in conditions. XDM's p. */
  | 'PENDING'
  /** Nobody knows what they chose; missing in conditions. XDM's u. */
  | 'UNKNOWN';

/** Who is meant, by exactly one of these. Both or neither is `INVALID_CUSTOMER_REF`. */
export type CustomerRef =
  {   /** The `id` of a `Customer`; that of an absorbed one leads to the one that remains. */
  id: string | number; identity?: never; }
  |  { id?: never;   /** Anything the customer is known by. Some callers may name browsers and devices only. */
  identity: IdentityInput; };

/** What the customer is doing at this moment. It counts in this decision as if it had been tracked before; tracking it is still the caller's. */
export type EventInput = {
  /** When it happened; now if left out. A moment in the future is `DECISION_INVALID_REQUEST`. */
  at?: string | null | undefined;
  /** As conditions call it: `product_viewed`. 1 to 200 characters. */
  name: string;
  /** A JSON object of details, which conditions read as `event.<name>`. At most 16 KB. */
  properties?: unknown;
};

/** What a customer is known by. */
export type IdentityInput = {
  /** `user_id`, `crm_id`, `loyalty_id`, `email`, `phone`, `anonymous_id` or `device`. */
  type: string;
  /** At most 255 characters. Capitals of an e-mail address do not matter. */
  value: string;
};

/** The legal ground (GDPR, article 6) a value is stored on, in the letters of Adobe's XDM. */
export type LawfulBasis =
  /** They agreed to it. */
  | 'CONSENT'
  /** Compliance: the law demands it. */
  | 'CP'
  /** Needed for a contract with them. */
  | 'CT'
  /** Legitimate interest of the company. */
  | 'LI'
  /** Public interest. */
  | 'PI'
  /** Vital interest of the customer or somebody else. */
  | 'VI';

/** An amount of money. */
export type MoneyInput = {
  /** In minor units: 1250 is 12.50 of a currency with two decimals. */
  cents: number;
  /** ISO 4217, as in `EUR`. It must be that of the catalogue. */
  currency: string;
};

/** How a customer reacted to a proposition, as its channel saw it. */
export type OutcomeInput = {
  /** When they reacted; now if left out. Neither before the decision nor in the future. */
  at?: string | null | undefined;
  /** Who reacted, for a caller that wants it checked: a proposition made for another customer is `DECISION_OTHER_CUSTOMER` then. Null leaves it to the proposition. */
  customer?: CustomerRef | null | undefined;
  /** Chosen by the caller, one for each outcome: sending it again is harmless. */
  idempotencyKey: string;
  /** The reaction. CONVERTED is accepted from servers and staff only (`DECISION_SERVER_OUTCOME`). */
  kind: OutcomeKind;
  /** The `id` or the `trackingCode` of a proposition that nextBestActions returned. */
  proposition: string | number;
  /** A note of an agent, such as why they said no. Staff can read it. */
  reason?: string | null | undefined;
  /** What it was worth, if known; from browsers and apps at most the value of the action. */
  value?: MoneyInput | null | undefined;
};

/** How a customer reacted to a proposition. Any of them implies that it was presented. */
export type OutcomeKind =
  /** They said yes. A success: it raises the propensity. */
  | 'ACCEPTED'
  /** They opened it or asked for more, which is no yes yet. */
  | 'CLICKED'
  /** They did what it was for, such as buying. A success too; believed from servers and staff only. */
  | 'CONVERTED'
  /** They closed or skipped it without a yes or no. */
  | 'DISMISSED'
  /** The customer could see or hear it. */
  | 'PRESENTED'
  /** They said no. Contact policies can let it rest from now on. */
  | 'REJECTED';

export type OfferChangesSubscriptionVariables = Exact<{
  ref: CustomerRef;
}>;


export type OfferChangesSubscription = { customerActivity: { id: string, at: string, kind: ActivityKind } };

export type OffersQueryVariables = Exact<{
  customer: CustomerRef;
  channel: Channel;
  placement: string;
  event?: EventInput | null | undefined;
  context?: unknown;
}>;


export type OffersQuery = { nextBestActions: { id: string, degraded: string | null, customer: { id: string } | null, propositions: Array<{ id: string, rank: number, reason: string, content: unknown, trackingCode: string, action: { key: string, name: string, kind: ActionKind } }> } | null };

export type RecordOutcomeMutationVariables = Exact<{
  input: OutcomeInput;
}>;


export type RecordOutcomeMutation = { recordOutcome: { kind: OutcomeKind } };

export type SetConsentMutationVariables = Exact<{
  input: ConsentInput;
}>;


export type SetConsentMutation = { setConsent: { id: string } };

export class TypedDocumentString<TResult, TVariables>
  extends String
  implements DocumentTypeDecoration<TResult, TVariables>
{
  __apiType?: NonNullable<DocumentTypeDecoration<TResult, TVariables>['__apiType']>;
  private value: string;
  public __meta__?: Record<string, any> | undefined;

  constructor(value: string, __meta__?: Record<string, any> | undefined) {
    super(value);
    this.value = value;
    this.__meta__ = __meta__;
  }

  override toString(): string & DocumentTypeDecoration<TResult, TVariables> {
    return this.value;
  }
}

export const OfferChangesDocument = new TypedDocumentString(`
    subscription OfferChanges($ref: CustomerRef!) {
  customerActivity(ref: $ref) {
    id
    at
    kind
  }
}
    `, {"hash":"sha256:4b08304b02b6dad631e42dd641c6f44a7fc7aa534ffe7a9d4a740562ca315b4d"}) as unknown as TypedDocumentString<OfferChangesSubscription, OfferChangesSubscriptionVariables>;
export const OffersDocument = new TypedDocumentString(`
    query Offers($customer: CustomerRef!, $channel: Channel!, $placement: String!, $event: EventInput, $context: JSON) {
  nextBestActions(
    customer: $customer
    channel: $channel
    placement: $placement
    limit: 5
    event: $event
    context: $context
  ) {
    id
    degraded
    customer {
      id
    }
    propositions {
      id
      rank
      reason
      content
      trackingCode
      action {
        key
        name
        kind
      }
    }
  }
}
    `, {"hash":"sha256:c86979668e79fb89cf07be0ba020a8a54854f1874e175a911b21cb026e11e345"}) as unknown as TypedDocumentString<OffersQuery, OffersQueryVariables>;
export const RecordOutcomeDocument = new TypedDocumentString(`
    mutation RecordOutcome($input: OutcomeInput!) {
  recordOutcome(input: $input) {
    kind
  }
}
    `, {"hash":"sha256:c2a955df3db337fa140973c37060a8c21b8540a2096627434f2d9587b84ec3eb"}) as unknown as TypedDocumentString<RecordOutcomeMutation, RecordOutcomeMutationVariables>;
export const SetConsentDocument = new TypedDocumentString(`
    mutation SetConsent($input: ConsentInput!) {
  setConsent(input: $input) {
    id
  }
}
    `, {"hash":"sha256:db974aa5f40124216b48ca23a6b12bfa30f5c92a233f9a75cbf3f38fc9f7f66a"}) as unknown as TypedDocumentString<SetConsentMutation, SetConsentMutationVariables>;