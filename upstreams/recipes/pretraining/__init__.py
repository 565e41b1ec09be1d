"""Masked prediction of units without labels.

`units` clusters frames, `pretrain` is the objective. Distilled and pruned models start from what it
trains.
"""
