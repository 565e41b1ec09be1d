"""SLURP (Bastianelli et al. 2020): requests to an assistant, near a microphone and far away.

Layout: `slurp/dataset/slurp/{train,devel,test}.jsonl` and `slurp/audio/slurp_real/*.flac`. SUPERB
has no task on it. Here a recording has one label, `scenario_action` (the corpus' own `intent` field
is unreliable), with the head and recipe of SUPERB's intents. Recordings whose name ends in
`-headset` are near; the test set comes in two tables, near and far.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.corpora.official._layout import OfficialClip, OfficialTable, need_all, read_lines
from bench.corpora.official._manifest import OfficialCorpus
from bench.errors import InvalidDataError

LISTS, AUDIO = "dataset/slurp", "audio/slurp_real"
NEAR = "-headset"
# About sixty pairs of 18 scenarios and 46 actions, from which a plan builds the head.
EXAMPLES = tuple(f"scenario{n % 18}_action{n % 46}" for n in range(60))


def read(root: Path) -> Mapping[str, OfficialTable]:
    """Read the tables of a folder of SLURP.

    Raises:
        MissingError: a list, or a recording that it names, is missing.
        InvalidDataError: a malformed line of a list.
    """
    train, devel, test = (_list(root, name) for name in ("train", "devel", "test"))
    near = [clip for clip in test if clip.id.endswith(NEAR)]
    far = [clip for clip in test if not clip.id.endswith(NEAR)]
    return {
        "intent/train": OfficialTable(train),
        "intent/dev": OfficialTable(devel),
        "intent/test-headset": OfficialTable(near),
        "intent/test-far": OfficialTable(far),
    }


def _list(root: Path, name: str) -> list[OfficialClip]:
    path = root / LISTS / f"{name}.jsonl"
    clips: dict[str, OfficialClip] = {}
    for number, line in enumerate(read_lines(path, f"the list {name}.jsonl of SLURP"), 1):
        try:
            entry: dict[str, Any] = json.loads(line)
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
            identifier = file.removesuffix(".flac")
            clips[identifier] = OfficialClip(identifier, f"{AUDIO}/{file}", target, text=text)
    need_all(root, list(clips.values()), path.name)
    return list(clips.values())


CORPUS = OfficialCorpus(__file__, read=read, targets=EXAMPLES)
OFFICIAL = True
folder, prepare, status = CORPUS.folder, CORPUS.prepare, CORPUS.status
validate, differences = CORPUS.validate, CORPUS.differences
