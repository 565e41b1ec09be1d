"""Pictures as SVG whose bytes depend on nothing but what is drawn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.errors import MissingError
from bench.paths import atomic_path

FONT_POINTS = 8


@contextmanager
def svg_figure(path: Path, width_inches: float, height_inches: float) -> Iterator[Any]:
    """A matplotlib figure to draw on, which is written at the end.

    Args:
        path: file, replaced as a whole.
        width_inches: of the figure.
        height_inches: of the figure.

    Raises:
        MissingError: matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingError("plots need matplotlib: pip install 'slim-superb[plots]'") from error
    # Fixed identifiers and no date: the same numbers give the same bytes.
    style: Any = {"svg.hashsalt": "slim-superb", "svg.fonttype": "none", "font.size": FONT_POINTS}
    with mpl.rc_context(style):
        figure = Figure(figsize=(width_inches, height_inches), layout="constrained")
        yield figure
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format="svg", metadata={"Date": None})
