"""Flip single bits of bundles and run folders: `verify` and `score` must refuse or show the same.

`python -m tools.hostile.flips --cases 400 --write docs/flips.md`. A bundle and a run folder of a
small track are made; each case flips one bit at a seeded random place and runs the command. A case
is a finding where the command neither refuses in one line nor shows what it shows undamaged.
"""

import argparse
import contextlib
import io
import random
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from bundles import toy_bundle

from bench import cli
from bench.progress import NORMAL, QUIET, set_level
from bench.records.curves import LINES
from tools.markdown import markdown_table

REFUSED = 4


def run(words):
    """Exit code, and everything that a command shows."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.main(words)
    return code, out.getvalue(), err.getvalue()


def flipped(path, rng):
    """Flip one bit of a file; return its content before."""
    before = path.read_bytes()
    content = bytearray(before)
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)
    return before


def outcome(words, whole):
    """What a command makes of a damaged input: `refused`, `same` or a finding."""
    code, out, err = run(words)
    if (code, out, err) == whole:
        return "same"
    lines = [line for line in (out + err).splitlines() if line]
    refused = code == REFUSED and len(lines) == 1
    return "refused" if refused else f"finding: exit {code}, {lines[:3]}"


def flips(words, files, cases, seed):
    """Run a command on `cases` flips; a file is drawn by its size.

    Args:
        words: of the command.
        files: by name for the table.
        cases: number of flips.
        seed: of the places.

    Returns:
        a counter of outcomes by name.
    """
    rng = random.Random(seed)
    whole = run(words)
    if whole[0] != 0:
        raise AssertionError(f"undamaged: {whole}")
    counts = {name: Counter() for name, _ in files}
    sizes = [path.stat().st_size for _, path in files]
    for _ in range(cases):
        ((name, path),) = rng.choices(files, weights=sizes)
        before = flipped(path, rng)
        counts[name][outcome(words, whole)] += 1
        path.write_bytes(before)
    return counts


KINDS = {".json": "record", ".jsonl": "predictions", ".safetensors": "head"}


def lines(cases, seed=0):
    """Rows of the table: command, kind of file, counter of outcomes."""
    set_level(QUIET)
    rows = []
    with (
        tempfile.TemporaryDirectory(prefix="slim-superb-flips-") as name,
        pytest.MonkeyPatch.context() as patch,
    ):
        toy = toy_bundle(Path(name), patch)
        patch.setenv("SLIM_SUPERB_HOME", str(toy.home))
        verify = ["verify", str(toy.archive), "--board", str(Path(name) / "board")]
        counts = flips(verify, [("bundle", toy.archive)], cases, seed)
        rows += [("`verify`", what, counter) for what, counter in counts.items()]
        record = toy.out / "toy/fbank/tone-s0.json"
        folder = record.with_suffix("")
        shutil.rmtree(folder / "tensorboard", ignore_errors=True)  # curves are no evidence
        (folder / LINES).unlink(missing_ok=True)
        paths = [record, *sorted(path for path in folder.rglob("*") if path.is_file())]
        files = [(f"{KINDS[path.suffix]} `{path.name}`", path) for path in paths]
        counts = flips(["score", str(record)], files, cases, seed)
        rows += [("`score`", what, counter) for what, counter in counts.items()]
    set_level(NORMAL)
    return rows


def findings(rows):
    """What should not have happened."""
    return [what for *_, counter in rows for what in counter if what not in ("refused", "same")]


def page(rows, cases):
    """The result as Markdown."""
    head = ("command", "file", "flips", "refused", "shown the same", "findings")
    body = [
        (command, what, c.total(), c["refused"], c["same"], c.total() - c["refused"] - c["same"])
        for command, what, c in rows
    ]
    return (
        f"# Flipped bits\n\nWritten by `python -m tools.hostile.flips --cases {cases}` "
        f"(`make flips`). {cases} single bits of a bundle's archive and {cases} of a run folder "
        "are flipped, at seeded random places of all bytes. The command must refuse the input in "
        "one line, or show what it shows undamaged: some bits of gzip's header have no meaning.\n\n"
        f"{markdown_table(body, head)}\n"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=400)
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    rows = lines(options.cases)
    text = page(rows, options.cases)
    if options.write:
        options.write.write_text(text, encoding="utf-8")
    sys.stdout.write(text)
    for what in findings(rows):
        sys.stderr.write(f"{what}\n")
    return 1 if findings(rows) else 0


if __name__ == "__main__":
    sys.exit(main())
