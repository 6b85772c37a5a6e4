"""Checks the container files as far as that goes without a container engine: `make compose-check`."""
