"""How Raak is started: the command line, the embedded servers, and what Compose needs."""
