"""Execute a query plan, and shape what came back into the client's answer."""
