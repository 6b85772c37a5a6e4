"""Programs that stand beside docker-compose.yml; each needs the standard library only, for it runs alone."""
