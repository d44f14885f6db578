"""What happens with one customer, live: heard on the bus, answered as a subgraph, sent to clients.

`feed` listens to NATS, `schema` and `subgraph` make of it a part of the graph, and `sockets` and
`streams` carry any operation of the graph to clients over graphql-transport-ws and SSE.
"""
