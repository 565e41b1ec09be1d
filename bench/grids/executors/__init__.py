"""Executors start workers, one file each, found by the name of the file.

A module has `EXECUTOR`, a subclass of `bench.grids.launch.Executor`. An extra of pyproject.toml
with the name of the module installs its library.
"""
