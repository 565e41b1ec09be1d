"""Do the same evaluations with other threads, workers and stores: one record must come out.

`python -m tools.hostile.threads --work FOLDER --write docs/determinism.md`; the same command goes
on where it was stopped. Every row is a command of its own in a new process. Corpora come from the
home of the user; features of every row lie in a home that the row names.
"""

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import yaml

from bench.errors import MissingError
from bench.paths import home, write_text
from bench.records.record import read_record
from tools.markdown import markdown_table

UPSTREAM, TRACK = "house_whisper_distil", "quick"
COMMAND = (sys.executable, "-P", "-m", "bench.cli")
CONDITIONS = "white-5db"
LIMITS = {"ks": 200, "asr": 60}  # utterances a split
# Fields of the provenance that name a moment or a machine, not the computation.
TIMES = {"started", "seconds", "seconds_by_stage", "commit", "dirty"}


@dataclass(frozen=True)
class ThreadsRow:
    """One evaluation.

    Attributes:
        home: its folder of features; rows with the same one share them, in the order of the table.
        threads: OMP_NUM_THREADS; None leaves it to the machine.
        task: name of the task.
        workers: utterances at once; 0 leaves it to the machine.
        is_grid: a grid does it, with `workers` threads in each of its workers.
        is_streamed: no features are stored.
    """

    home: str
    threads: int | None
    task: str
    workers: int = 0
    is_grid: bool = False
    is_streamed: bool = False

    def about(self):
        """Return the row in words."""
        words = ["grid" if self.is_grid else "eval"]
        words += [f"{self.workers} at once"] if self.workers else []
        words += ["streamed"] if self.is_streamed else []
        return ", ".join(words)

    def name(self):
        """Return a name for files."""
        words = re.sub("[^a-z0-9]+", "-", self.about())
        return f"{self.task}-{self.home}-{self.threads}-{words}"


ROWS = {}
ROWS["ks"] = (
    ThreadsRow("A", None, "ks", workers=1, is_grid=True),
    ThreadsRow("A", None, "ks"),
    ThreadsRow("B", 2, "ks", workers=2),
    ThreadsRow("C", 1, "ks"),
    ThreadsRow("D", 4, "ks", workers=3),
    ThreadsRow("E", 2, "ks", is_streamed=True),
)
# Features by one number of threads, training by another: the first row of a home passes.
ROWS["asr"] = (
    ThreadsRow("one", 1, "asr"),
    ThreadsRow("one", 2, "asr"),
    ThreadsRow("two", 2, "asr"),
    ThreadsRow("two", 1, "asr"),
    ThreadsRow("four", 4, "asr", workers=3),
)


def environment(row, work):
    """Return the variables of a row's process, and make its home: corpora are shared."""
    place = work / "homes" / row.home
    place.mkdir(parents=True, exist_ok=True)
    for name in ("corpora", "packages", "weights"):
        link = place / name
        if not link.exists() and (home() / name).exists():
            link.symlink_to((home() / name).resolve())
    variables = os.environ | {"SLIM_SUPERB_HOME": str(place)}
    variables.pop("OMP_NUM_THREADS", None)
    if row.threads is not None:
        variables["OMP_NUM_THREADS"] = str(row.threads)
    return variables


def call(words, variables):
    """Run one command.

    Raises:
        MissingError: it failed; the message has its last line.
    """
    done = subprocess.run(
        [*COMMAND, *words], env=variables, capture_output=True, text=True, check=False
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise MissingError(f"{' '.join(words)}: {last}")


def evaluate(row, work):
    """Evaluate one row, and score it under conditions; return the path of its record."""
    out, variables = work / "runs" / row.name(), environment(row, work)
    if row.is_grid:
        spec = {"upstreams": [UPSTREAM], "tasks": [row.task], "track": TRACK}
        spec |= {"threads": row.workers, "limit": LIMITS[row.task]}
        file = work / f"{row.name()}.yaml"
        write_text(file, yaml.safe_dump(spec))
        call(["grid", str(file), "--out", str(out), "--workers", "1", "-q"], variables)
    else:
        words = ["eval", UPSTREAM, row.task, "--track", TRACK, "--out", str(out), "-q"]
        words += ["--limit", str(LIMITS[row.task])]
        words += ["--store-gb", "0"] if row.is_streamed else []
        call([*words, "--workers", str(row.workers)], variables)
    (path,) = out.glob(f"{TRACK}/*/{row.task}-*.json")
    words = ["score-conditions", str(path), "--conditions", CONDITIONS, "-q"]
    call([*words, "--workers", str(row.workers)], variables)
    return path


def identity(path):
    """Return a digest of a record without times, and of its head and predictions."""
    record = read_record(path)
    content = record.comparable()
    provenance = record.provenance.model_dump(mode="json", exclude=TIMES)
    digest = hashlib.sha256(json.dumps([content, provenance], sort_keys=True).encode())
    folder = path.with_suffix("")
    for file in sorted([*folder.glob("*.safetensors"), *folder.glob("predictions/*.jsonl")]):
        digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()


def features_of(row, work):
    """Return a digest of all features of a row's home, by utterance and not by shard."""
    digest = hashlib.sha256()
    for file in sorted((work / "homes" / row.home / "features").rglob("*.npy")):
        digest.update(file.relative_to(work / "homes" / row.home).as_posix().encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()


def line(row, work):
    """Do one row; return its cells."""
    sys.stderr.write(f"{row.name()}\n")
    path = evaluate(row, work)
    record = read_record(path)
    scores = [f"{100 * score.value:.2f}" for score in record.scores]
    under = [f"{100 * score.value:.2f}" for item in record.conditions for score in item.scores[:1]]
    return {
        "home": row.home,
        "threads": "default" if row.threads is None else row.threads,
        "command": row.about(),
        "scores": " / ".join(scores),
        "conditions": " / ".join(under),
        "chosen": f"{record.selection.lr:g}, {record.selection.step}",
        "record": identity(path)[:12],
        "features": "" if row.is_streamed else features_of(row, work)[:12],
    }


def table(lines):
    """Return the cells as Markdown."""
    head = ["home", "`OMP_NUM_THREADS`", "command", "scores (%)", "under conditions (%)"]
    head += ["rate, step", "record, head, predictions", "features"]
    return markdown_table([list(cells.values()) for cells in lines], head)


def is_one(lines):
    """Return whether all rows have one record, and all stores the same features."""
    records = {cells["record"] for cells in lines}
    features = {cells["features"] for cells in lines} - {""}
    return len(records) == 1 and len(features) == 1


def page(lines):
    """Return the result as Markdown.

    Args:
        lines: cells of the rows, by task.
    """
    verdict = "one record in each table" if all(map(is_one, lines.values())) else "RECORDS DIFFER"
    tables = "\n\n".join(
        f"## {task.upper()}, {LIMITS[task]} utterances a split\n\n{table(cells)}"
        for task, cells in lines.items()
    )
    return f"""# The same record with any number of threads

Written by `make threads`: **{verdict}**. Every row is a command in a new process;
rows with the same home use the features that the first of them stored.

What is fixed:

- *The upstream pass.* Each utterance is computed alone by one thread; several are computed side by
  side, one a core. Features are written in the order of the manifest.
- *Conditions.* Distorting and passing an utterance are one piece of work, by one thread.
- *Heads.* Those that do not pool linearly are trained side by side, each by one thread; their
  forward passes take turns, because torch has one generator for dropout. A CTC head alone computes
  its two directions side by side.
- *Loading, training, predicting and scoring* use one thread in torch and in the BLAS of NumPy and
  SciPy, whatever the environment says, and restore the setting afterwards.
- *The store* is part of it: a change of the last bits raises its revision, and older features are
  not read.
- *Times* in the cost of an upstream are those of one thread, and are left out below, with the start
  and the commit.

What is not: another kind of processor, version of torch, precision or device has other last bits.
`compress` trains with one thread, or with `threads` of the recipe, which is part of its identity.

{tables}

"At once" are the utterances that are computed side by side (not named: one a core). The last two
columns are digests (sha256) of the record with its head and its predictions on clean and distorted
speech, and of all stored features.
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, help="folder of runs and features, to go on")
    parser.add_argument("--tasks", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="slim-superb-threads-") as scratch:
        work = options.work or Path(scratch)
        lines = {task: [line(row, work) for row in ROWS[task]] for task in options.tasks}
    text = page(lines)
    if options.write:
        options.write.write_text(text, encoding="utf-8")
    sys.stdout.write(text)
    return 0 if all(map(is_one, lines.values())) else 1


if __name__ == "__main__":
    sys.exit(main())
