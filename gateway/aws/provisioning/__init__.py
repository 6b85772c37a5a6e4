"""Wiring an AWS account for feedback: what is wanted, what is there, and the steps from the one to the other."""
