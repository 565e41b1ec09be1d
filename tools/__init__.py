"""Tools of the maintainers: benchmarks, pages of docs, corpus tables, fuzzing, torture.

They are no part of the wheel or of `slim-superb`; the Makefile reaches them. `commands` holds what
`python -m tools NAME` runs. Tools may import every package; no package imports them.
"""
