"""Calls to the control plane of AWS: account, wiring, checks."""
