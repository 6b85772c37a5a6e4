"""Measurements of what the documents state about speed; each is a program of its own."""
