"""The page of mutation testing: how many changes of the core the tests see, and which they do not.

mutmut changes one place of one function (a number, an operator, an argument, a branch) and runs the
tests that reach it. A mutant is killed when a test fails. A survivor is a gap in the tests, or it
is equivalent: nothing that the function promises tells it from the original. `mutants.yaml` names
the equivalent ones.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from tabulate import tabulate

from bench.errors import MissingError
from bench.paths import write_text
from bench.schema import read_yaml

REASONS = Path(__file__).with_name("mutants.yaml")
KILLED = (1, 3, -24, 24, 36, 152, 255)  # exit codes of mutmut: a test failed, or never ended
SKIPPED = 34
NOT_RUN = (None, SKIPPED)


@dataclass(frozen=True)
class Survivor:
    """A mutant that no test fails on.

    Attributes:
        place: `FUNCTION: NEW LINE`; its name in `mutants.yaml`.
        old: the line before the change.
        reason: why it is equivalent; empty where it is a gap.
    """

    place: str
    old: str
    reason: str


@dataclass(frozen=True)
class ModuleMutants:
    """The mutants of one file.

    Attributes:
        path: of the file.
        total: every mutant.
        run: those that were tested.
        survivors: those that no test failed on.
    """

    path: str
    total: int
    run: int
    survivors: tuple[Survivor, ...]

    @property
    def killed(self) -> int:
        """Number of mutants that a test failed on."""
        return self.run - len(self.survivors)

    @property
    def equivalent(self) -> int:
        """Number of survivors with a reason."""
        return sum(bool(item.reason) for item in self.survivors)


def read_results(folder: Path, reasons: Mapping[str, Mapping[str, str]]) -> list[ModuleMutants]:
    """Read what `mutmut run` left in its folder.

    Args:
        folder: `mutants`, in the folder of the sources.
        reasons: by file and place, why a survivor is equivalent; under `everywhere` by a regular
            expression of `OLD LINE -> NEW LINE`, for what is the same in every file.

    Raises:
        MissingError: no results.
    """
    modules = []
    for meta in _metas(folder):
        codes = json.loads(meta.read_text(encoding="utf-8"))["exit_code_by_key"]
        path = meta.relative_to(folder).with_suffix("").as_posix()
        if not codes:
            continue
        run = {name: code for name, code in codes.items() if code not in NOT_RUN}
        names = [name for name, code in run.items() if code not in KILLED]
        survivors = tuple(_survivors(path, names, reasons.get(path, {}), reasons["everywhere"]))
        modules.append(ModuleMutants(path, len(codes), len(run), survivors))
    return modules


def _metas(folder: Path) -> list[Path]:
    """Return the files of results, one a source file, in order."""
    metas = sorted(folder.rglob("*.py.meta"))
    if not metas:
        raise MissingError(f"no mutants in {folder}: run 'make mutants'")
    return metas


def choose_sample(folder: Path, number: int) -> int:
    """Leave all mutants but a sample of every file out of the next `mutmut run`.

    mutmut runs what the fastest tests reach first, so that a run that is stopped has seen nothing
    of the files with slow tests. A sample has the same number of every file. What was run keeps its
    result and counts, so that a larger number later only adds to the sample.

    Args:
        folder: `mutants`, in the folder of the sources.
        number: of mutants of a file; all of a file that has fewer.

    Returns:
        the number of mutants that are left to run.

    Raises:
        MissingError: no mutants.
    """
    left = 0
    for meta in _metas(folder):
        data = json.loads(meta.read_text(encoding="utf-8"))
        codes = data["exit_code_by_key"]
        waiting = sorted(name for name, code in codes.items() if code in NOT_RUN)
        random.Random(0).shuffle(waiting)
        lacking = max(0, number - len(codes) + len(waiting))
        for place, name in enumerate(waiting):
            codes[name] = None if place < lacking else SKIPPED
        left += min(lacking, len(waiting))
        write_text(meta, json.dumps(data, indent=4))
    return left


def _survivors(
    path: str, names: Sequence[str], reasons: Mapping[str, str], everywhere: Mapping[str, str]
) -> Iterator[Survivor]:
    """Yield the survivors of one file, in its order."""
    if not names:
        return
    from mutmut.mutation.diff_apply import get_diff_for_mutant
    from mutmut.utils.format_utils import orig_function_and_class_names_from_key

    for name in names:
        lines = get_diff_for_mutant(name, path=path).splitlines()[2:]
        old, new = (
            " ".join(line[1:].strip() for line in lines if line.startswith(sign)) for sign in "-+"
        )
        function, owner = orig_function_and_class_names_from_key(name)
        place = f"{owner}.{function}" if owner else function
        place = f"{place}: {new or '(removed)'}"
        shared = (why for rule, why in everywhere.items() if re.search(rule, f"{old} -> {new}"))
        yield Survivor(place, old, reasons.get(place) or next(shared, ""))


def page(modules: Sequence[ModuleMutants], tool: str) -> str:
    """Return the page as Markdown.

    Args:
        modules: of the last run.
        tool: name and version of what made the mutants.
    """
    rows = [
        [f"`{m.path}`", m.total, m.run, m.killed, m.equivalent, _share(m.killed, m.run)]
        for m in modules
    ]
    total, run, killed, equivalent = (
        sum(getattr(m, name) for m in modules) for name in ("total", "run", "killed", "equivalent")
    )
    rows.append(["all", total, run, killed, equivalent, _share(killed, run)])
    table = tabulate(
        rows,
        headers=["file", "mutants", "run", "killed", "equivalent", "killed %"],
        tablefmt="github",
        disable_numparse=True,
        colalign=("left", *["right"] * 5),
    )
    is_sample = any(m.run < m.total for m in modules)
    sample = (
        "\nWhere fewer were run than there are, they are a random sample.\n" if is_sample else ""
    )
    sections = "\n".join(_section(m) for m in modules if m.survivors)
    return f"""# Mutation testing of the numerical core

Written by `make mutants` with {tool}. Every mutant changes one place of one
function: a number, an operator, an argument, a branch. It is killed when one of the tests that
`[tool.mutmut]` in `pyproject.toml` names fails on it. The texts of errors and warnings are not
changed. An equivalent mutant survives because nothing that the function promises tells it from the
original; `tools/pages/mutants.yaml` says why.

{table}
{sample}
## Survivors

{sections}"""


def _share(killed: int, run: int) -> str:
    """Return a percentage of mutants that were run."""
    return f"{100 * killed / run:.1f}" if run else "-"


def _section(module: ModuleMutants) -> str:
    """Return the survivors of one file as a list."""
    lines = [
        f"- `{item.place}`\n  (was `{item.old}`): {item.reason or '**no test sees it**'}\n"
        for item in module.survivors
    ]
    return f"### `{module.path}`\n\n{''.join(lines)}"


def write_page(folder: Path, path: Path) -> list[ModuleMutants]:
    """Write the page from the results in a folder; return them.

    Raises:
        MissingError: no results.
        InvalidDataError: `mutants.yaml` is not YAML.
    """
    modules = read_results(folder, read_yaml(REASONS))
    write_text(path, page(modules, f"mutmut {version('mutmut')}"))
    return modules
