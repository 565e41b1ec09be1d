"""The program: `slim-superb`, or `python -m bench`. Imports nothing before Ctrl-C is caught."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command of this process and return its exit code.

    Until the command line can say a line, Ctrl-C ends the process without one.
    """
    try:
        import os
        import signal

        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, lambda *_: os._exit(130))
        from bench.cli import program
    except KeyboardInterrupt:
        return 130
    return program()


if __name__ == "__main__":
    sys.exit(main())
