"""Which callers may come in, what each may ask, how much of it, and what is written down."""
