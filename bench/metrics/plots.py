"""Pictures drawn with matplotlib, whose bytes depend only on the data."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bench.errors import MissingError, UsageError
from bench.paths import atomic_path

FONT_POINTS = 8
DOTS_PER_INCH = 150  # of a PNG


def check_picture(path: Path | None) -> None:
    """Refuse a picture that cannot be written, before the work of computing its data.

    Args:
        path: file; None for no picture.

    Raises:
        UsageError: an ending other than `.svg` and `.png`.
        MissingError: matplotlib is not installed.
    """
    if path is None:
        return
    if path.suffix not in (".svg", ".png"):
        raise UsageError(f"{path}: a plot is an .svg or a .png file")
    if find_spec("matplotlib") is None:
        raise MissingError("plots need matplotlib: pip install 'slim-superb[plots]'")


@contextmanager
def picture(path: Path, width_inches: float, height_inches: float) -> Iterator[Any]:
    """Yield a matplotlib figure, and write it at the end.

    Args:
        path: SVG or PNG file, replaced as a whole.
        width_inches: of the figure.
        height_inches: of the figure.

    Raises:
        UsageError: an ending other than `.svg` and `.png`.
        MissingError: matplotlib is not installed, or the file cannot be written.
    """
    check_picture(path)
    import matplotlib as mpl
    from matplotlib.figure import Figure

    # Fixed identifiers and no date: the same numbers give the same bytes.
    style: Any = {"svg.hashsalt": "slim-superb", "svg.fonttype": "none", "font.size": FONT_POINTS}
    ending = path.suffix[1:]
    with mpl.rc_context(style):
        figure = Figure(figsize=(width_inches, height_inches), layout="constrained")
        yield figure
        metadata = {"Date": None} if ending == "svg" else {}
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format=ending, dpi=DOTS_PER_INCH, metadata=metadata)


@contextmanager
def plane(path: Path, axes: tuple[str, str, str]) -> Iterator[Any]:
    """Yield one pair of matplotlib axes, and write the figure at the end.

    Args:
        path: SVG or PNG file.
        axes: title, and labels of x and y.

    Raises:
        UsageError: an ending other than `.svg` and `.png`.
        MissingError: matplotlib is not installed, or the file cannot be written.
    """
    with picture(path, 6.4, 4.4) as figure:
        drawn = figure.add_subplot()
        yield drawn
        drawn.set_title(axes[0])
        drawn.set_xlabel(axes[1])
        drawn.set_ylabel(axes[2])
        drawn.grid(visible=True, linewidth=0.3)


def legend_above(figure: Any, columns: int | None = None) -> None:
    """Draw one legend for all panels of a figure above them, each label once.

    Args:
        figure: with its panels drawn.
        columns: of the legend; None for one row.
    """
    labels: dict[str, Any] = {}
    for axes in figure.axes:
        labels |= dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    place = "outside upper center"
    figure.legend(labels.values(), labels.keys(), loc=place, ncols=columns or len(labels))
