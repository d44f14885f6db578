"""Compose subgraphs into one supergraph, or say everything that is in the way."""
