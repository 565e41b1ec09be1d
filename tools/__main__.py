"""Run one tool: `python -m tools NAME [OPTIONS]`."""

import sys

import tools.commands
from bench.cli import main

if __name__ == "__main__":
    sys.exit(main(package=tools.commands, prog="python -m tools"))
