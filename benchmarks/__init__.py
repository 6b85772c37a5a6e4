"""Measurements of what the documents state about speed: `python -m benchmarks list` names them."""
