"""Hostile input to what reads files: no crash, no hang, nothing but errors of one line.

`python tests/fuzz.py --cases 100000 --write docs/fuzz.md`. Cases are made by hypothesis from a
fixed seed out of whole files: bytes flipped, cut, repeated, replaced. A reader may return or raise
a `UserError`; anything else is a finding, and so is a case that takes above 5 s.
"""

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import soundfile
import torch
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from test_corpus_containers import pack_drascula, pack_queen, queen_entries

from bench.audio import read_wav
from bench.config import UpstreamCard, read_card
from bench.corpora import _drascula, _queen
from bench.errors import UserError
from bench.record import read_record
from bench.registry import ROOT
from bench.sealed import read_sealed, write_sealed
from upstreams.checkpoint import read_checkpoint

MAX_SECONDS = 5.0
EDIT = st.tuples(st.integers(0, 4), st.integers(0, 2**16), st.integers(0, 255))


def damaged(content, edits):
    """A file with some edits: a bit, a byte, a cut, a piece again, a piece taken out."""
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
        else:
            del data[at : at + value]
    return bytes(data)


def corpus(folder):
    """Whole files of every kind, and what reads each from a path."""
    wav = 0.1 * np.sin(np.arange(1_600) / 7)
    soundfile.write(folder / "a.wav", wav, 16_000, subtype="PCM_16")
    soundfile.write(folder / "a.flac", wav, 16_000, subtype="PCM_16")
    state = {"cfg": {"width": 8}, "model": {"w": torch.arange(12.0).view(3, 4)}}
    torch.save(state, folder / "a.pt")
    write_sealed(state, folder / "a.sealed")
    (folder / "queen").write_bytes(pack_queen(queen_entries()))
    card = (ROOT / "upstreams" / "cards" / "fbank.yaml").read_bytes()
    record = next(iter(sorted((ROOT / "leaderboard" / "results").glob("*/fbank/*-s0.json"))))
    return {
        "card (YAML)": (card, lambda path: read_card(path, UpstreamCard)),
        "record (JSON)": (record.read_bytes(), read_record),
        "checkpoint (torch)": ((folder / "a.pt").read_bytes(), read_checkpoint),
        "sealed state": ((folder / "a.sealed").read_bytes(), read_sealed),
        "sound (WAV)": ((folder / "a.wav").read_bytes(), read_wav),
        "sound (FLAC)": ((folder / "a.flac").read_bytes(), read_wav),
        "container (Queen)": (
            (folder / "queen").read_bytes(),
            lambda path: _queen.parse(path.read_bytes()),
        ),
        "container (Drascula)": (
            pack_drascula(["Hello", "Who?"], {}),
            lambda path: _drascula.parse(path.read_bytes(), {"0.ALS": b"a", "1.ALS": b"b"}),
        ),
    }


def fuzz(cases):
    """A line a reader: cases, how many were read or refused, findings."""
    lines = []
    with tempfile.TemporaryDirectory(prefix="slim-superb-fuzz-") as name:
        folder = Path(name)
        for number, (kind, (content, read)) in enumerate(corpus(folder).items()):
            begin = time.monotonic()
            found = many(content, read, folder / f"case{number}", cases // 8, number)
            counts = {key: count for key, count in found.items() if count}
            lines.append({"kind": kind, "seconds": time.monotonic() - begin, **counts})
            sys.stderr.write(json.dumps(lines[-1]) + "\n")
    return lines


def many(content, read, path, cases, number):
    """Many damaged versions of one file through its reader."""
    found = Counter()

    @seed(number)
    @settings(
        max_examples=cases,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(EDIT, min_size=1, max_size=6))
    def one(edits):
        path.write_bytes(damaged(content, edits))
        start = time.monotonic()
        try:
            read(path)
            found["read"] += 1
        except UserError as error:
            found["refused"] += 1
            found["several lines"] += "\n" in str(error)
        except Exception as error:
            found[f"{type(error).__name__}: {str(error)[:80]} {edits}"] += 1
        found["cases"] += 1
        found["above 5 s"] += time.monotonic() - start > MAX_SECONDS

    one()
    return found


def findings(line):
    """What should not have happened."""
    known = {"kind", "seconds", "cases", "read", "refused"}
    return {key: value for key, value in line.items() if key not in known}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    lines = fuzz(options.cases)
    total = sum(line["cases"] for line in lines)
    bad = sum(sum(findings(line).values()) for line in lines)
    rows = "".join(
        f"| {x['kind']} | {x['cases']:,} | {x.get('read', 0):,} | {x.get('refused', 0):,} | "
        f"{sum(findings(x).values())} |\n"
        for x in lines
    )
    text = (
        f"# Hostile input\n\nWritten by `python tests/fuzz.py --cases {options.cases}` "
        f"(`make fuzz` does 100,000). {total:,} cases, {bad} findings: a reader returns, or "
        "refuses in one line.\n\n"
        "| reader | cases | read | refused | findings |\n|---|--:|--:|--:|--:|\n" + rows
    )
    if options.write:
        options.write.write_text(text, encoding="utf-8")
    sys.stdout.write(text)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
