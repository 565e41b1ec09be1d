"""Students of a teacher: distilled, with another front end, noise-robust, once for all.

`distil`, `frontend`, `robust` and `ofa` are methods (a recipe card names `module:make`); `teacher`,
`students`, `codes` and `adversary` are their parts.
"""
