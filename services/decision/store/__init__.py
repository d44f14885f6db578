"""All SQL of the decision service, by noun. Functions take a connection and never commit."""
