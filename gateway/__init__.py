"""The SMTP front, and the core that the workers and the webhook stand on."""
