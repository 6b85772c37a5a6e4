"""The `sesgate` command, one file a command group."""
