"""The steps from a GraphQL request to its answer."""
