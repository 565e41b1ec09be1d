"""Executors start workers, one file each; what workers do is in folders, so any of them will do.

A module here has `make(launch) -> Executor`. It is found by its file name.
"""
