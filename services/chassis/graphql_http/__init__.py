"""GraphQL over HTTP, as its specification says, for any endpoint: the gateway's and the services'.

`request` reads what a client sends, `media_types` agrees on the form of the response, and
`response` makes it, with its status and headers.
"""
