"""The scenarios. A module registers what it holds when it is imported (`tests.chaos.scenario`)."""
