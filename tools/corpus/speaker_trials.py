"""Trials of speaker verification: pairs of utterances of speakers that are not in training.

Half of the trials are of one speaker, from two parts of the script (clips that are cut from one
part are one recording). Half are impostors: two speakers of one source that are not too similar
(`tools.corpus.splits`). Both halves are spread evenly over the speakers, or pairs of
speakers, that can make them. No pair of utterances comes twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from bench.corpora.package.rows import order
from bench.sound.manifests import Trial
from tools.corpus.splits import GameClip, in_turn, look_alike


def trials(clips: Sequence[GameClip], purpose: str, count: int) -> list[Trial]:
    """Draw balanced trials among clips, in a fixed random order.

    Args:
        clips: the utterances; their speakers are the trials' speakers.
        purpose: name of the draw; another name gives another draw.
        count: number of trials; fewer where there are not as many pairs.
    """
    by_speaker: dict[str, list[GameClip]] = {}
    for clip in clips:
        by_speaker.setdefault(clip.speaker, []).append(clip)
    speakers = sorted(by_speaker)
    same = [_pairs(purpose, by_speaker[name], by_speaker[name]) for name in speakers]
    other = [
        _pairs(purpose, by_speaker[one], by_speaker[two])
        for one, two in combinations(speakers, 2)
        if not look_alike(one, two) and by_speaker[one][0].source == by_speaker[two][0].source
    ]
    half = min(count // 2, sum(map(len, same)), sum(map(len, other)))
    chosen = [Trial(1, one, two) for one, two in in_turn(same)[:half]]
    chosen += [Trial(0, one, two) for one, two in in_turn(other)[:half]]
    return sorted(chosen, key=lambda trial: order(purpose, f"{trial.enrolment}/{trial.test}"))


def used(clips: Sequence[GameClip], chosen: Sequence[Trial]) -> list[GameClip]:
    """Return the clips that occur in a trial."""
    named = {name for trial in chosen for name in (trial.enrolment, trial.test)}
    return [clip for clip in clips if clip.id in named]


def _pairs(
    purpose: str, ones: Sequence[GameClip], others: Sequence[GameClip]
) -> list[tuple[str, str]]:
    """Return pairs of two lists of clips, or within one, in a fixed random order."""
    if ones is others:
        pairs = [(one.id, two.id) for one, two in combinations(ones, 2) if one.scene != two.scene]
    else:
        pairs = [(one.id, two.id) for one in ones for two in others]
    return sorted(pairs, key=lambda pair: order(purpose, "/".join(pair)))
