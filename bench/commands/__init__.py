"""The commands of `slim-superb`, one file each, found by their file names.

A command's module has `HELP` (one line), `EXAMPLE` (a command line that works), `configure(parser)`
and `run(options) -> exit code`. Nothing heavy is imported before `run` is called.
"""
