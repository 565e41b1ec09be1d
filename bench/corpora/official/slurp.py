"""SLURP (Bastianelli et al. 2020): requests to an assistant, near a microphone and far away.

Layout: `slurp/dataset/slurp/{train,devel,test}.jsonl` and `slurp/audio/slurp_real/*.flac`. SUPERB
has no task on it. Here a recording has one label, `scenario_action` (the corpus' own `intent` field
is unreliable), with the head and recipe of SUPERB's intents. Recordings whose name ends in
`-headset` are near; the test set comes in two tables, near and far. Some recordings of the training
are listed with two sentences; each is an utterance, as in the published count.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.corpora.official._layout import OfficialClip, OfficialTable, present, read_lines
from bench.corpora.official._manifest import OfficialCorpus
from bench.errors import InvalidDataError
from bench.schema import parse_json

LISTS, AUDIO = "dataset/slurp", "audio/slurp_real"
NEAR = "-headset.flac"
# About sixty pairs of 18 scenarios and 46 actions, from which a plan builds the head.
EXAMPLES = tuple(f"scenario{n % 18}_action{n % 46}" for n in range(60))


def read(root: Path) -> Mapping[str, OfficialTable]:
    """Read the tables of a folder of SLURP.

    Raises:
        MissingError: a list, or every recording of a table, is missing.
        InvalidDataError: a malformed line of a list.
    """
    train, devel, test = (_list(root, name) for name in ("train", "devel", "test"))
    parts = {
        "intent/train": ("train", train),
        "intent/dev": ("devel", devel),
        "intent/test-headset": ("test", [clip for clip in test if NEAR in clip.path]),
        "intent/test-far": ("test", [clip for clip in test if NEAR not in clip.path]),
    }
    tables = {}
    for table, (name, clips) in parts.items():
        there, gap = present(root, clips, f"{name}.jsonl")
        tables[table] = OfficialTable(there, gap=gap)
    return tables


def _list(root: Path, name: str) -> list[OfficialClip]:
    path = root / LISTS / f"{name}.jsonl"
    clips: list[OfficialClip] = []
    times: Counter[str] = Counter()
    for number, line in enumerate(read_lines(path, f"the list {name}.jsonl of SLURP"), 1):
        try:
            entry: dict[str, Any] = parse_json(line)
            target = f"{entry['scenario']}_{entry['action']}"
            files = [str(recording["file"]) for recording in entry["recordings"]]
            text = str(entry["sentence"])
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidDataError(
                f"{path}, line {number}: expected an entry with scenario, action, sentence and "
                f"recordings ({type(error).__name__}: {error})"
            ) from error
        for file in files:
            if "/" in file or not file.endswith(".flac"):
                raise InvalidDataError(f"{path}, line {number}: file {file!r}, NAME.flac expected")
            times[file] += 1
            again = f"-{times[file]}" if times[file] > 1 else ""
            identifier = file.removesuffix(".flac") + again
            clips.append(OfficialClip(identifier, f"{AUDIO}/{file}", target, text=text))
    return clips


CORPUS = OfficialCorpus(__file__, read=read, targets=EXAMPLES)
OFFICIAL = True
folder, prepare, status = CORPUS.folder, CORPUS.prepare, CORPUS.status
validate, differences = CORPUS.validate, CORPUS.differences
