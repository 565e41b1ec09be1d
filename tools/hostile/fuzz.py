"""Give hostile input to every reader of files: it must not crash, hang or write a traceback.

`python -m tools.hostile.fuzz --cases 100000 --kept fuzz.jsonl --write docs/fuzz.md`; the same
command goes on where it was stopped. Cases are made by hypothesis from fixed seeds out of whole
files: bytes flipped, cut, repeated, replaced, hostile words put in the place of values, and pipes,
devices, folders and links put in the place of the file.
A reader may return
or raise a `UserError`; anything else is a finding, and so are a case that takes above 5 s and the
death of the process (a block of cases is one).
"""

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from bench.errors import UserError
from tools.hostile.fuzz_readers import readers
from tools.markdown import markdown_table

MAX_SECONDS = 5.0
TARGET_CASES = 100_000  # of `make fuzz`
BLOCK = 500  # cases of one process
MAX_BLOCK_SECONDS = 900
WORDS = (
    *(b"null", b"-1", b"1e999", b".nan", b"NaN", b"9" * 400, b"[" * 20_000, b"{" * 60),
    *(b"1" + b":1" * 4_000, b"../../x", b"/etc/passwd", b'"', b"'", b"\x00", b"\xff\xfe"),
    *(b"&a [*a]", b"!!python/name:os.system", b"\n", b"true", b"''", b"[]", b"{}", b"0"),
    "é\u2028".encode(),
)
PLACES = {
    "a pipe": os.mkfifo,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a folder": Path.mkdir,
    "a link to nothing": lambda path: path.symlink_to(".git/annex/objects/x"),
    "a loop": lambda path: path.symlink_to(path.name),
    "a pointer": lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\n"),
    "an empty file": Path.touch,
}
EDIT = st.tuples(st.integers(0, 6), st.integers(0, 2**16), st.integers(0, 255))


def damaged(content, edits):
    """A file with some edits: a bit, a byte, a cut, a piece again or taken out, a hostile word."""
    data = bytearray(content)
    for kind, place, value in edits:
        if not data:
            break
        at = place % len(data)
        if kind == 0:
            data[at] ^= 1 << value % 8
        elif kind == 1:
            data[at] = value
        elif kind == 2:
            del data[at:]
        elif kind == 3:
            data[at:at] = data[at : at + value]
        elif kind == 4:
            del data[at : at + value]
        elif kind == 5:
            data[at:at] = WORDS[value % len(WORDS)]
        else:  # in the place of what follows the next colon, in files that have such
            begin = data.find(b":", at) + 1 or at
            ends = [end for end in (data.find(mark, begin) for mark in b",\n}") if end >= 0]
            data[begin : min(ends, default=begin)] = b" " + WORDS[value % len(WORDS)]
    return bytes(data)


def put(path, place):
    """Replace a file by something of `PLACES`; None removes it."""
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    path.unlink(missing_ok=True)
    if place is not None:
        PLACES[place](path)


def block(reader, path, cases, name):
    """So many damaged versions of one file through its reader: what came of them."""
    found = Counter()
    path.write_bytes(reader.pack(reader.content))
    reader.read(path)  # the whole file is read; what is imported late is imported now

    edits = st.lists(EDIT, min_size=1, max_size=6)
    if reader.is_input:
        edits |= st.sampled_from(sorted(PLACES))

    @seed(name)
    @settings(
        max_examples=cases,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(edits)
    def one(edits):
        put(path, edits if isinstance(edits, str) else None)
        if not isinstance(edits, str):
            path.write_bytes(reader.pack(damaged(reader.content, edits)))
        start = time.monotonic()
        try:
            reader.read(path)
            found["read"] += 1
        except UserError as error:
            found["refused"] += 1
            found[f"several lines: {str(error)[:80]!r} {edits}"] += "\n" in str(error)
        except Exception as error:
            found[f"{type(error).__name__}: {str(error)[:80]} {edits}"] += 1
        found["cases"] += 1
        found[f"above 5 s: {edits}"] += time.monotonic() - start > MAX_SECONDS

    one()
    put(path, None)
    return {key: count for key, count in found.items() if count}


def apart(reader, path, cases, name):
    """A block in a process of its own, so that its death is a finding and not the end."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        signal.alarm(MAX_BLOCK_SECONDS)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # decoders write their own warnings
        try:
            said = json.dumps(block(reader, path, cases, name))
            with os.fdopen(write, "w") as pipe:
                pipe.write(said)
            os._exit(0)
        finally:
            os._exit(1)
    os.close(write)
    with os.fdopen(read) as pipe:
        said = pipe.read()
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    # What killed it is still there: the last file that was written.
    return json.loads(said) if not code else {"cases": 1, f"the process ended with {code}": 1}


def fuzz(cases, kept=None):
    """A line a reader: cases, how many were read or refused, findings.

    Args:
        cases: in all.
        kept: a file of the blocks that are done, which is read first and added to; or None.
    """
    done = {}
    if kept is not None and kept.exists():
        lines = map(json.loads, kept.read_text().splitlines())
        done = {(line.pop("reader"), line.pop("block")): line for line in lines}
    found = []
    with tempfile.TemporaryDirectory(prefix="slim-superb-fuzz-") as name:
        folder = Path(name)
        known = readers(folder)
        share = -(-cases // len(known))
        for kind, reader in known.items():
            total = Counter()
            for number, begin in enumerate(range(0, share, BLOCK)):
                size = min(BLOCK, share - begin)
                counts = done.get((kind, f"{number} of {size}"))
                if counts is None:
                    counts = apart(reader, folder / reader.name, size, f"{kind} {number}")
                    if kept is not None:
                        line = {"reader": kind, "block": f"{number} of {size}", **counts}
                        with kept.open("a") as file:
                            file.write(json.dumps(line) + "\n")
                total.update(counts)
            found.append({"reader": kind, **total})
    return found


def findings(line):
    """What should not have happened."""
    known = {"reader", "cases", "read", "refused"}
    return {key: value for key, value in line.items() if key not in known}


def page(lines, cases):
    """The result as Markdown."""
    total = sum(line["cases"] for line in lines)
    bad = sum(sum(findings(line).values()) for line in lines)
    counted = ("cases", "read", "refused")
    rows = [
        (x["reader"], *(f"{x.get(key, 0):,}" for key in counted), sum(findings(x).values()))
        for x in lines
    ]
    fewer = f" `make fuzz` gives {TARGET_CASES:,}; the last run had less time." * (
        cases < TARGET_CASES
    )
    return (
        f"# Hostile input\n\nWritten by `python -m tools.hostile.fuzz --cases {cases}`. "
        f"{total:,} cases, {bad} findings.{fewer} A reader must return, or "
        f"refuse the file in one line, within {MAX_SECONDS:g} s. The undamaged files are in "
        "`tools/hostile/fuzz_readers.py`, and the seeds are fixed.\n\n"
        f"{markdown_table(rows, ('reader', *counted, 'findings'))}\n"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=TARGET_CASES)
    parser.add_argument("--kept", type=Path, help="file of the blocks that are done")
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    lines = fuzz(options.cases, options.kept)
    text = page(lines, options.cases)
    if options.write:
        options.write.write_text(text, encoding="utf-8")
    sys.stdout.write(text)
    for line in lines:
        for what in findings(line):
            sys.stderr.write(f"{line['reader']}: {what}\n")
    return 1 if any(findings(line) for line in lines) else 0


if __name__ == "__main__":
    sys.exit(main())
