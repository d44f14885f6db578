"""`/graphql` over HTTP: what only the gateway does, beyond `services.chassis.graphql_http`.

Operations by their hash, batches, caching, compression, a guard against other pages' requests, and
a page for developers.
"""
