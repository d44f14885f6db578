"""What the decision service does, use case by use case."""
