"""What journey does: publish definitions, handle events, fire timers, answer queries."""
