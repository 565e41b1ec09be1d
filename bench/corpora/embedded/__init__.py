"""Corpora that anybody can install from Debian packages, one file each, found by its name.

A module has `folder(home)`, `prepare(home)`, `status(home)` and `validate(folder)`. Task cards name
a corpus by its file name (`bench.registry.corpus_module`). Where it says `BY_TABLE`, `prepare` and
`status` take the names of tables (`bench.run.spec.needed_tables`).
"""
