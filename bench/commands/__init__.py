"""Measure what a compressed speech encoder still knows, costs and survives.

Each file is one command of `slim-superb`, found by its file name. It has `HELP` (one line),
`EXAMPLE` (a command line that works), `configure(parser)` and `run(options) -> exit code`. Nothing
heavy is imported before `run` is called. Files whose names begin with `_` are shared options.
"""
