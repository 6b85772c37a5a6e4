"""Real mail programs and libraries against a real front: what docs/clients.md says of them is tried here."""
