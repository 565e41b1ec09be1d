"""Write compressed tab-separated files, the same bytes for the same content."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Sequence
from pathlib import Path

from bench.paths import atomic_path


def write_fields(path: Path, rows: Iterable[Sequence[object]]) -> None:
    """Write one line for each row of fields.

    Raises:
        MissingError: no space or no permission.
    """
    text = "".join("\t".join(map(str, row)) + "\n" for row in rows)
    with atomic_path(path) as temporary:
        temporary.write_bytes(gzip.compress(text.encode(), 9, mtime=0))
