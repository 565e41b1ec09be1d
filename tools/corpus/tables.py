"""The manifests of the tracks `open` and `quick`: the clips of each task, split and track.

`open` is every clip that qualifies. `quick` is a part of it: clips of 1 to 6 s (ASV: 1.5 to 3 s, so
that more pairs fit), drawn in a fixed random order (by the sha256 of task and id) until the minutes
below are full; classes and speakers take turns where they are the target. Where `quick` has
no table below, its test is that of `open`: a part of a dozen speakers, or of a hundred and fifty
dialogue acts, does not separate upstreams. Both tracks depend on the packages and the committed
alignment only; a test compares them with the committed tables.

- ASR: every accepted line with at least two words or 0.8 s.
- KS: `tools.corpus.keywords`.
- SID: characters that have 50 accepted clips of 0.8 to 12 s, each with other words; in script order
  the first 3/5 of them give 30 training clips, the next sixth 8 dev clips, the rest 12 test clips,
  so that neighbouring lines are mostly on one side.
- ASV: `tools.corpus.speaker_trials`; training has up to 200 clips a speaker.
- IC: `tools.corpus.labels`.
- SLU: `tools.corpus.slot_phrases`.
- Words: `tools.corpus.words`.
- `unlabelled/train`: clips of training characters, verified or not, of 0.7 s or more, that are in
  no dev or test table.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from bench.api import SAMPLE_RATE_HZ
from bench.corpora.games.table_files import TEXT, CommittedRow
from bench.corpora.package.clip_sound import MIN_VOICE_SECONDS
from bench.corpora.package.rows import order
from bench.sound.manifests import Trial
from tools.corpus import keywords, labels, slot_phrases, speaker_trials, words
from tools.corpus.splits import SPLITS, GameClip, in_turn, shuffled

MINUTES = {
    "asr": {"train": 17.0, "dev": 2.5, "test": 4.0, "ood": 1.5},
    "slu": {"train": 16.0, "dev": 3.0, "test": 6.0, "ood": 2.0},
    "ic": {"train": 18.0, "dev": 2.5, "ood": 1.5},
    "sid": {"train": 10.0, "dev": 2.5},
    "asv": {"train": 10.0, "dev": 2.0, "ood": 2.5},
    "ks": {"train": 7.0, "dev": 1.0, "test": 3.0, "ood": 1.0},
}
TRIALS = {
    "open": {"dev": 2_000, "test": 4_600, "ood": 2_000},
    "quick": {"dev": 600, "ood": 500},
}
QUICK_SECONDS = {"asv": (MIN_VOICE_SECONDS, 3.0)}
OTHER_QUICK_SECONDS = (1.0, 6.0)
SID_CLIPS = {"train": 30, "dev": 8, "test": 12}
SID_SECONDS = (0.8, 12.0)
ASV_MOST = 200
MIN_UNLABELLED_SECONDS = 0.7

Target = Callable[[GameClip], Any]


@dataclass
class ManifestTables:
    """The content of all manifests, by their names.

    Attributes:
        rows: of each manifest, in any order.
        trials: of the manifests that have some, in their order.
    """

    rows: dict[str, list[CommittedRow]] = field(default_factory=dict)
    trials: dict[str, list[Trial]] = field(default_factory=dict)


def build(clips: Sequence[GameClip]) -> ManifestTables:
    """Return every table of both tracks.

    Args:
        clips: all distinct, audible clips, in the containers' order.
    """
    accepted = [clip for clip in clips if clip.accepted]
    tables = ManifestTables()
    held_out: set[str] = set()
    for task, split, chosen, target in _by_target(accepted):
        if split != "train":
            held_out |= {clip.id for clip in chosen}
        tables.rows[f"open/{task}/{split}"] = _whole(chosen, target)
        if split in MINUTES[task]:
            tables.rows[f"quick/{task}/{split}"] = _whole(_quick(task, split, chosen), target)
    frequent = slot_phrases.frequent_slots(accepted)
    for split in SPLITS:
        clips_of_split = [clip for clip in accepted if clip.split == split]
        phrases = slot_phrases.windows(clips_of_split, frequent)
        for task, windows in (
            ("ks", keywords.windows(clips_of_split, split)),
            ("slu", slot_phrases.limit(phrases, split)),
        ):
            tables.rows[f"open/{task}/{split}"] = windows
            tables.rows[f"quick/{task}/{split}"] = _quick_windows(task, split, windows)
    for split in ("dev", "test", "ood"):
        for track, most in words.TOKENS_OF_SPEAKER.items():
            clips_of_split = [clip for clip in accepted if clip.split == split]
            tables.rows[f"{track}/words/{split}"] = words.tokens(clips_of_split, most)
        _add_verification(tables, split, [clip for clip in accepted if clip.split == split])
    tables.rows["unlabelled/train"] = _whole(_unlabelled(clips, held_out), lambda _: None)
    return tables


def _by_target(accepted: Sequence[GameClip]) -> Iterable[tuple[str, str, list[GameClip], Target]]:
    """Yield the tables with one target for each clip: task, split, clips, target."""
    for split in SPLITS:
        clips = [clip for clip in accepted if clip.split == split]
        yield "asr", split, [clip for clip in clips if _is_line(clip)], lambda _: TEXT
        yield "ic", split, [clip for clip in clips if _act(clip)], _act
    for split, chosen in _closed_set(accepted).items():
        yield "sid", split, chosen, _speaker
    yield "asv", "train", _verification_train(accepted), _speaker


def _is_line(clip: GameClip) -> bool:
    return len(clip.words) >= 2 or clip.seconds >= 0.8


def _speaker(clip: GameClip) -> str:
    return clip.speaker


def _act(clip: GameClip) -> str | None:
    return labels.dialogue_act(clip.transcript, clip.asks)


def _closed_set(accepted: Sequence[GameClip]) -> dict[str, list[GameClip]]:
    """Return the clips of SID: the same speakers, other parts of the script in each split."""
    low, high = SID_SECONDS
    by_speaker: dict[str, list[GameClip]] = defaultdict(list)
    lines: set[tuple[str, str]] = set()  # a line that comes twice may be one take
    for clip in sorted(accepted, key=lambda clip: clip.id):
        words = (clip.speaker, clip.transcript)
        if clip.split != "ood" and low <= clip.seconds <= high and words not in lines:
            by_speaker[clip.speaker].append(clip)
            lines.add(words)
    total = sum(SID_CLIPS.values())
    chosen: dict[str, list[GameClip]] = {split: [] for split in SID_CLIPS}
    for _, candidates in sorted(by_speaker.items()):
        if len(candidates) < total:
            continue
        start = before = 0
        for split, count in SID_CLIPS.items():
            before += count
            end = len(candidates) * before // total
            chosen[split] += shuffled("sid", candidates[start:end])[:count]
            start = end
    return chosen


def _verification_train(accepted: Sequence[GameClip]) -> list[GameClip]:
    by_speaker: dict[str, list[GameClip]] = defaultdict(list)
    for clip in shuffled("asv", accepted):
        if clip.split == "train" and clip.seconds >= MIN_VOICE_SECONDS:
            by_speaker[clip.speaker].append(clip)
    return list(chain.from_iterable(clips[:ASV_MOST] for clips in by_speaker.values()))


def _quick_windows(task: str, split: str, windows: Sequence[CommittedRow]) -> list[CommittedRow]:
    """Return the part that the track `quick` has of a task whose utterances are parts of clips."""
    groups: dict[str, list[CommittedRow]] = defaultdict(list)
    for row in sorted(windows, key=lambda row: order(f"quick/{task}", row.id)):
        groups[_group(row.target)].append(row)
    turns = in_turn(groups[name] for name in sorted(groups))
    return _fill(turns, MINUTES[task][split], lambda row: row.num_samples / SAMPLE_RATE_HZ)


def _group(target: Any) -> str:
    """Return the group that takes turns in `quick`: a keyword or the values of slots."""
    if isinstance(target, str):
        return target
    return "+".join(value for _, value in target["slots"])


def _add_verification(tables: ManifestTables, split: str, clips: Sequence[GameClip]) -> None:
    """Add the tables of speaker verification that have trials."""
    pool = [clip for clip in clips if clip.seconds >= MIN_VOICE_SECONDS]
    for track in TRIALS:
        if split not in TRIALS[track]:
            continue
        name = f"{track}/asv/{split}"
        pool = pool if track == "open" else _quick("asv", split, pool)
        chosen = speaker_trials.trials(pool, name, TRIALS[track][split])
        pool = speaker_trials.used(pool, chosen)
        tables.rows[name] = _whole(pool, _speaker)
        tables.trials[name] = chosen


def _quick(task: str, split: str, clips: Sequence[GameClip]) -> list[GameClip]:
    """Return the part of a table that the track `quick` has."""
    low, high = QUICK_SECONDS.get(task, OTHER_QUICK_SECONDS)
    pool = [clip for clip in shuffled(f"quick/{task}", clips) if low <= clip.seconds <= high]
    if task in ("ic", "sid", "asv"):
        groups: dict[str, list[GameClip]] = defaultdict(list)
        for clip in pool:
            groups[str(_act(clip)) if task == "ic" else clip.speaker].append(clip)
        pool = in_turn(groups[name] for name in sorted(groups))
    return _fill(pool, MINUTES[task][split], lambda clip: clip.seconds)


def _fill(pool: Iterable[Any], minutes: float, seconds: Callable[[Any], float]) -> list[Any]:
    """Return the first items that fit into some minutes; longer ones are skipped."""
    free_seconds = minutes * 60
    chosen = []
    for item in pool:
        if seconds(item) <= free_seconds:
            free_seconds -= seconds(item)
            chosen.append(item)
    return chosen


def _unlabelled(clips: Sequence[GameClip], held_out: set[str]) -> list[GameClip]:
    return [
        clip
        for clip in clips
        if clip.split == "train"
        and clip.id not in held_out
        and clip.seconds >= MIN_UNLABELLED_SECONDS
    ]


def _whole(clips: Iterable[GameClip], target: Target) -> list[CommittedRow]:
    """Return the rows of utterances that are whole clips."""
    return [
        CommittedRow(
            clip.id, clip.id, 0, clip.num_samples, 0, len(clip.transcript.split()), target(clip)
        )
        for clip in clips
    ]
