"""Endpoints beside the graph, in the form existing tools speak."""
