"""Measure what a compressed speech encoder still knows, costs and survives.

Each file is one command of `slim-superb`, named like the file. It has `GROUP` (its heading in the
help, see `bench.cli.GROUPS`), `HELP` (one line), `EXAMPLE` (a command line that works),
`configure(parser)` and `run(options) -> exit code`. Nothing heavy is imported before `run`.
"""
