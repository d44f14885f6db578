"""Who a caller is: by a token, or by an API key."""
