"""The Celery workers: dispatcher, sending, feedback, housekeeping."""
