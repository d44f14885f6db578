"""The gateway: the one public door. It composes the services into one graph."""
