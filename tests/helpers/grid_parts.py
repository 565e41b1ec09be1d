"""Grids on the toy track, and the launch of their workers."""

from pathlib import Path
from types import SimpleNamespace

from bench.grids.cells import GridCell, open_grid
from bench.grids.launch import Launch
from bench.grids.spec import GridSpec

TOY = Path(__file__).with_name("grid_toy.py")
TONE, VOICE = GridCell("fbank", "tone"), GridCell("fbank", "voice")
YAML = "upstreams: [fbank]\ntasks: [tone, voice]\ntrack: toy\nmemory_gb: 0.1\n"


def grid_of(toy, **more):
    """A grid on the toy track."""
    settings = {"upstreams": ("fbank",), "tasks": ("tone", "voice"), "track": "toy"} | more
    return open_grid(GridSpec(**settings), toy.out)


def elsewhere(toy, name="alone"):
    """The toy with another folder of records."""
    return SimpleNamespace(home=toy.home, out=toy.out.with_name(name), corpus=toy.corpus)


def launch_of(tmp_path, **more):
    """The launch of a worker, with some settings of its grid."""
    return Launch(GridSpec(upstreams=("a",), tasks=("b",), **more), tmp_path, tmp_path / "logs", 7)
