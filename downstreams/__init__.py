"""Downstream heads, which are trained on frozen features, and the task cards that name them.

A task card gives a head as `downstreams.MODULE:CLASS`; every head is a `bench.api.Head`.
"""
