/* eslint-disable */
import * as types from './graphql';



/**
 * Map of all GraphQL operations in the project.
 *
 * This map has several performance disadvantages:
 * 1. It is not tree-shakeable, so it will include all operations in the project.
 * 2. It is not minifiable, so the string of a GraphQL query will be multiple times inside the bundle.
 * 3. It does not support dead code elimination, so it will add unused operations.
 *
 * Therefore it is highly recommended to use the babel or swc plugin for production.
 * Learn more about it here: https://the-guild.dev/graphql/codegen/plugins/presets/preset-client#reducing-bundle-size
 */
type Documents = {
    "subscription OfferChanges($ref: CustomerRef!) {\n  customerActivity(ref: $ref) {\n    id\n    at\n    kind\n  }\n}": typeof types.OfferChangesDocument,
    "query Offers($customer: CustomerRef!, $channel: Channel!, $placement: String!, $event: EventInput, $context: JSON) {\n  nextBestActions(\n    customer: $customer\n    channel: $channel\n    placement: $placement\n    limit: 5\n    event: $event\n    context: $context\n  ) {\n    id\n    degraded\n    customer {\n      id\n    }\n    propositions {\n      id\n      rank\n      reason\n      content\n      trackingCode\n      action {\n        key\n        name\n        kind\n      }\n    }\n  }\n}": typeof types.OffersDocument,
    "mutation RecordOutcome($input: OutcomeInput!) {\n  recordOutcome(input: $input) {\n    kind\n  }\n}": typeof types.RecordOutcomeDocument,
    "mutation SetConsent($input: ConsentInput!) {\n  setConsent(input: $input) {\n    id\n  }\n}": typeof types.SetConsentDocument,
};
const documents: Documents = {
    "subscription OfferChanges($ref: CustomerRef!) {\n  customerActivity(ref: $ref) {\n    id\n    at\n    kind\n  }\n}": types.OfferChangesDocument,
    "query Offers($customer: CustomerRef!, $channel: Channel!, $placement: String!, $event: EventInput, $context: JSON) {\n  nextBestActions(\n    customer: $customer\n    channel: $channel\n    placement: $placement\n    limit: 5\n    event: $event\n    context: $context\n  ) {\n    id\n    degraded\n    customer {\n      id\n    }\n    propositions {\n      id\n      rank\n      reason\n      content\n      trackingCode\n      action {\n        key\n        name\n        kind\n      }\n    }\n  }\n}": types.OffersDocument,
    "mutation RecordOutcome($input: OutcomeInput!) {\n  recordOutcome(input: $input) {\n    kind\n  }\n}": types.RecordOutcomeDocument,
    "mutation SetConsent($input: ConsentInput!) {\n  setConsent(input: $input) {\n    id\n  }\n}": types.SetConsentDocument,
};

/**
 * The graphql function is used to parse GraphQL queries into a document that can be used by GraphQL clients.
 */
export function graphql(source: "subscription OfferChanges($ref: CustomerRef!) {\n  customerActivity(ref: $ref) {\n    id\n    at\n    kind\n  }\n}"): typeof import('./graphql').OfferChangesDocument;
/**
 * The graphql function is used to parse GraphQL queries into a document that can be used by GraphQL clients.
 */
export function graphql(source: "query Offers($customer: CustomerRef!, $channel: Channel!, $placement: String!, $event: EventInput, $context: JSON) {\n  nextBestActions(\n    customer: $customer\n    channel: $channel\n    placement: $placement\n    limit: 5\n    event: $event\n    context: $context\n  ) {\n    id\n    degraded\n    customer {\n      id\n    }\n    propositions {\n      id\n      rank\n      reason\n      content\n      trackingCode\n      action {\n        key\n        name\n        kind\n      }\n    }\n  }\n}"): typeof import('./graphql').OffersDocument;
/**
 * The graphql function is used to parse GraphQL queries into a document that can be used by GraphQL clients.
 */
export function graphql(source: "mutation RecordOutcome($input: OutcomeInput!) {\n  recordOutcome(input: $input) {\n    kind\n  }\n}"): typeof import('./graphql').RecordOutcomeDocument;
/**
 * The graphql function is used to parse GraphQL queries into a document that can be used by GraphQL clients.
 */
export function graphql(source: "mutation SetConsent($input: ConsentInput!) {\n  setConsent(input: $input) {\n    id\n  }\n}"): typeof import('./graphql').SetConsentDocument;


export function graphql(source: string) {
  return (documents as any)[source] ?? {};
}
