"""`/mcp`: assistants ask Raak, by the Model Context Protocol.

Every tool is a registered operation, run with the caller's own token through the same pipeline as
any client's request. Only `server` imports the protocol's SDK, and only once somebody asks.
"""
