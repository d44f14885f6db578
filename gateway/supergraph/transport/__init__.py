"""Talk to the subgraphs over HTTP: connections, deadlines, retries, event streams."""
