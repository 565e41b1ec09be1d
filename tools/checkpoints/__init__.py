"""Checkpoints made for tests: an example of each format, and generated ones for `check`."""
