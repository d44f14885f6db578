"""All SQL of journey, by noun. Functions take a connection and never commit."""
