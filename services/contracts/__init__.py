"""What the services say to each other: event payloads, one module per publishing service.

Fields are only ever added, with a default; one that changes its meaning is a new fact version.
"""
