"""The training loop that all recipes share, and its input and output.

The harness uses `trainer`; methods use `objective`, `stream` and `settings`.
"""
