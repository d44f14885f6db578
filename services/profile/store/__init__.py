"""All SQL of profile. Functions take a connection, never commit, and take and give many at once."""
