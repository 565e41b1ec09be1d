"""A stdout that is a terminal, for what commands draw on one."""

import io
import re

ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


class PseudoTerminal(io.StringIO):
    """A text stream that says it is a terminal."""

    def isatty(self):
        return True


def on_terminal(monkeypatch, call, columns=80, **environment):
    """Return what a call writes to a terminal of so many columns."""
    stream = PseudoTerminal()
    with monkeypatch.context() as patch:
        for name in ("NO_COLOR", "FORCE_COLOR"):
            patch.delenv(name, raising=False)
        for name, value in {"COLUMNS": str(columns), "TERM": "xterm", **environment}.items():
            patch.setenv(name, value)
        patch.setattr("sys.stdout", stream)
        call()
    return stream.getvalue()


def plain(text):
    """Return a text without colours."""
    return ESCAPES.sub("", text)
