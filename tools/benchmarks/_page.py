"""All benchmarks on one page, with the machine they ran on."""

from __future__ import annotations

import os
import pkgutil
import platform
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import torch

import tools.benchmarks
from bench.errors import UsageError, did_you_mean
from bench.measure.timing import cpu_name
from bench.progress import say
from tools.benchmarks._setting import Setting
from tools.benchmarks.f_official import CORPORA, hours_of_ours, hours_of_reference

PACKAGES = ("torch", "numpy", "s3prl")


def names() -> dict[str, str]:
    """Name of every benchmark to its module, in order."""
    found = [item.name for item in pkgutil.iter_modules(tools.benchmarks.__path__)]
    return {name.partition("_")[2]: name for name in sorted(found) if not name.startswith("_")}


def page(
    home: Path, *, only: str | None = None, quick: bool = False, plots: Path | None = None
) -> str:
    """Measure and write up.

    Args:
        home: folder of corpora.
        only: one benchmark.
        quick: as little as runs through all the code.
        plots: folder of pictures; none are drawn without one.

    Raises:
        UsageError: no such benchmark.
    """
    known = names()
    if only is not None and only not in known:
        raise UsageError(f"no benchmark {only!r}: {did_you_mean(only, known)}")
    setting = Setting(home, utterances=8, repeats=1) if quick else Setting(home, plots=plots)
    parts = ["# Speed, memory and disk", headline(), _machine()]
    for name, module_name in known.items():
        if only in (None, name):
            say(f"benchmark: {name}")
            module = import_module(f"tools.benchmarks.{module_name}")
            parts.append(f"## {module.TITLE}\n\n{module.measure(setting)}")
    return "\n\n".join(parts)


def headline() -> str:
    """Return the ratio of the hours on the official corpora: a calculation, not a measurement."""
    reference, ours = (sum(map(f, CORPORA)) for f in (hours_of_reference, hours_of_ours))
    return (
        f"**{reference / ours:.0f} times less audio through the upstream** on the six official "
        f"corpora with their learning-rate grids and three seeds: {ours:,.0f} hours instead of "
        f"{reference:,.0f} in the reference implementation (below). This is a calculation, not a "
        "run. It assumes that all features are stored, including terabytes of frames for ASV."
    )


def _machine() -> str:
    """Return the machine, the versions of packages, and the load."""
    cores, load = os.cpu_count(), os.getloadavg()
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    threads, python = torch.get_num_threads(), platform.python_version()
    return f"""Written by `make bench`. {cpu_name()}, {cores} cores, no GPU; {threads} thread(s).
Python {python}, {packages}. Load average at the start: {load[0]:.1f}
on {cores} cores. Ratios compare CPU seconds of parts that were timed in turn in one process. With a
load above the number of cores, other work shares caches and memory, and the spreads are wide."""
