"""Who may come in, what he may ask, and how much of it."""
