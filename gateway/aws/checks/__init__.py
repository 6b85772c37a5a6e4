"""What `sesgate doctor` looks at in AWS: each module reads one thing, and judges it by a pure function."""
