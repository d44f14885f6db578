"""`/graphql`: GraphQL over HTTP, as its specification says, and a page for developers."""
