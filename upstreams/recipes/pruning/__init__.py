"""Structured pruning of convolutions and transformer layers.

`prune` and `prune_task` are methods with `make`; `gates` learns what to remove, `sizes` counts what
remains, `removal` cuts it out.
"""
