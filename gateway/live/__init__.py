"""What happens with one customer, live; and protocols whose connections stay open.

`customer_feed` listens to NATS, `schema` and `subgraph` make a part of the graph of it, and
`graphql_ws` and `graphql_sse` execute any operation of the graph over graphql-transport-ws and SSE.
"""
