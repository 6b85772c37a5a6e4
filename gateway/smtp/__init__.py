"""The SMTP front: listeners, protocol, handler, policy, replies."""
