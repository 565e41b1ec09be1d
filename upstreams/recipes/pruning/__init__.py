"""Structured pruning of convolutions and transformer layers.

`prune` and `prune_task` are methods (a recipe card names `module:make`); `gates` and `gated` select
the parts to remove, `sizes` counts the rest, `removal` cuts it out.
"""
