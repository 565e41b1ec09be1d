"""Students of a teacher: distilled, filter bank, noise-robust, once for all.

Each method is one file with `make`; `students`, `lessons`, `codes` and `adversary` are their parts.
A recipe card names `module:make`.
"""
