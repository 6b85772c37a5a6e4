"""The Flask apps: the public webhook and the operator's app."""
