"""VoxCeleb1 for speaker verification: 1,211 training speakers, 37,720 trials of the other forty.

Layout: as `voxceleb1`, with the list of trials `veri_test.txt` (s3prl: `voxceleb1_test_v2.txt`),
lines `LABEL FILE FILE`. Everything goes through SoX's `gain -3.0 silence ...`, as in s3prl;
training utterances keep more than two seconds.

s3prl has a list of dev trials that it does not use. The dev trials here are drawn in the same way:
`DEV_TRIALS` trials among `DEV_SPEAKERS` of the training speakers. Their utterances are left out of
`asv/train`, so selection sees no utterance of the training (but speakers of it); `asv/train-all`
has all utterances.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

from bench.corpora.official._layout import (
    OfficialClip,
    OfficialTable,
    listed,
    present,
    read_lines,
)
from bench.corpora.official._manifest import OfficialCorpus
from bench.corpora.official.voxceleb1 import CORPUS as VOXCELEB1
from bench.corpora.official.voxceleb1 import SPEAKERS, find_list, wav_folders
from bench.errors import InvalidDataError, MissingError
from bench.sound.manifests import Trial

LISTS = ("veri_test.txt", "voxceleb1_test_v2.txt")
EFFECT = "gain-silence"
MIN_SAMPLES = 32_001  # s3prl: longer than 32,000
DEV_SPEAKERS, DEV_PER_SPEAKER, DEV_TRIALS = 40, 40, 20_000


def read(root: Path) -> Mapping[str, OfficialTable]:
    """Read the tables of speaker verification.

    Raises:
        MissingError: the list, a side, or every file of the trials is missing.
        InvalidDataError: a malformed line of the list, or a test speaker in training.
    """
    folders = wav_folders(root, need_both=True)
    test = _test(root, folders[-1])
    everyone = [
        _clip(folders[0], path.relative_to(root / folders[0]).as_posix())
        for path in listed(root / folders[0], "id*/*/*.wav")
    ]
    test_speakers = {clip.speaker for clip in test.clips}
    if len(folders) == 1:  # both sides together: the trials say who is in the test
        everyone = [clip for clip in everyone if clip.speaker not in test_speakers]
    mixed = sorted(test_speakers & {clip.speaker for clip in everyone})
    if mixed:
        raise InvalidDataError(f"{root}: speaker {mixed[0]} is in dev/wav and in the test trials")
    dev = dev_part(everyone)
    held_out = {clip.id for clip in dev.clips}
    train = [clip for clip in everyone if clip.id not in held_out]
    return {
        "asv/train": OfficialTable(train, min_samples=MIN_SAMPLES),
        "asv/train-all": OfficialTable(everyone, min_samples=MIN_SAMPLES),
        "asv/dev": dev,
        "asv/test": test,
    }


def _clip(folder: str, file: str) -> OfficialClip:
    speaker = file.partition("/")[0]
    name = file.removesuffix(".wav")
    return OfficialClip(name, f"{folder}/{file}", speaker, speaker, effect=EFFECT)


def _test(root: Path, folder: str) -> OfficialTable:
    path = find_list(root, LISTS)
    trials: list[Trial] = []
    files: dict[str, None] = {}
    for number, line in enumerate(read_lines(path, "the list of trials"), 1):
        parts = line.split()
        if len(parts) != 3 or parts[0] not in ("0", "1"):
            raise InvalidDataError(
                f"{path}, line {number}: expected '0|1 FILE FILE', found {line[:60]!r}"
            )
        files |= dict.fromkeys(parts[1:])
        one, two = (file.removesuffix(".wav") for file in parts[1:])
        trials.append(Trial(int(parts[0]), one, two))
    clips = [_clip(folder, file) for file in sorted(files)]
    there, gap = present(root, clips, path.name)
    ids = {clip.id for clip in there}
    trials = [trial for trial in trials if trial.enrolment in ids and trial.test in ids]
    if gap and len({trial.label for trial in trials}) < 2:
        raise MissingError(f"{root}: {gap}; the others make no trials of one and of two speakers")
    return OfficialTable(there, trials, gap=gap)


def _order(text: str) -> str:
    """Return a sort key that gives a fixed random order."""
    return hashlib.sha256(f"voxceleb1 dev {text}".encode()).hexdigest()


def dev_part(clips: Sequence[OfficialClip]) -> OfficialTable:
    """Draw trials among some training speakers, as many of one speaker as of two."""
    by_speaker: dict[str, list[OfficialClip]] = {}
    for clip in clips:
        by_speaker.setdefault(clip.speaker, []).append(clip)
    # At least half of a speaker's utterances stay in training.
    chosen = {
        name: sorted(by_speaker[name], key=lambda clip: _order(clip.id))[
            : min(DEV_PER_SPEAKER, len(by_speaker[name]) // 2)
        ]
        for name in sorted(by_speaker, key=_order)[:DEV_SPEAKERS]
    }
    pool = sorted((c for group in chosen.values() for c in group), key=lambda c: _order(c.id))
    same = [(a.id, b.id) for group in chosen.values() for a, b in combinations(group, 2)]
    other = [(a.id, b.id) for a, b in combinations(pool, 2) if a.speaker != b.speaker]
    half = min(DEV_TRIALS // 2, len(same), len(other))
    trials = []
    for label, pairs in ((1, same), (0, other)):
        ordered = sorted(pairs, key=lambda pair: _order("/".join(pair)))[:half]
        trials += [Trial(label, one, two) for one, two in ordered]
    if not trials:
        raise InvalidDataError("VoxCeleb1: too few training utterances for trials on dev")
    used = {name for trial in trials for name in trial[1:]}
    return OfficialTable([clip for clip in pool if clip.id in used], trials)


CORPUS = OfficialCorpus(__file__, like=VOXCELEB1.layout, read=read, targets=SPEAKERS[:1_211])
OFFICIAL = True
folder, prepare, status = CORPUS.folder, CORPUS.prepare, CORPUS.status
validate, differences = CORPUS.validate, CORPUS.differences
