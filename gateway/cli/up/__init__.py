"""`sesgate up`: everything on this machine in one foreground supervisor."""
