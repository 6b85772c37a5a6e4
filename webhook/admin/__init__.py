"""The operator's app, on a port of its own."""
