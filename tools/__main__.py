"""Run one tool: `python -m tools NAME [OPTIONS]`."""

import sys

import tools.commands
from bench.cli import program

if __name__ == "__main__":
    sys.exit(program(package=tools.commands, prog="python -m tools"))
