"""Doors beside the graph, in the form tools already speak."""
