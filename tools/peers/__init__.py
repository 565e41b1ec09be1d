"""The same weights and sound through other libraries, timed in one run: docs/peers.md."""
