"""Corpora that anybody can install from packages, one file each, found by name.

A corpus has `folder(home)`, `prepare(home)`, `status(home)` and `validate(folder)`; task cards name
it by its file name (`bench.registry.corpus_module`).
"""
