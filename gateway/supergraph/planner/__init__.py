"""Plan an operation: which requests go to which subgraph, in which order."""
