"""What profile does, each in the caller's transaction: record, define, refresh, look up."""
