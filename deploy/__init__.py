"""What puts the gateway on machines; no part of the gateway."""
