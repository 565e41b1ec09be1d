"""How fast test sets are distorted: seconds of sound a second of one core, effect by effect."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from bench.api import Utterance
from bench.conditions.catalogue import catalogue, condition
from bench.conditions.distorter import Distorter
from bench.corpora.embedded import games
from bench.distortions._noise import Noise, NoiseClip
from bench.distortions._room import room_response
from bench.features.passes import clean_sound
from bench.sound.manifests import read_table
from tools.benchmarks._setting import Setting
from tools.markdown import markdown_table

TITLE = "Distorting"
AT_LEAST = 30.0
AT_LEAST_SLOW = 10.0
CODECS = ("mulaw", "gsm", "g722", "opus", "mp3")


@dataclass(frozen=True)
class Speed:
    """One line of the benchmark.

    Attributes:
        effect: which.
        example: the condition that was timed.
        ratio: seconds of sound a CPU second, reading from disk and rounding included.
        target: what the ratio must reach.
    """

    effect: str
    example: str
    ratio: float
    target: float


def measure(setting: Setting) -> str:
    """Seconds of sound a CPU second, of reading, distorting and rounding, with targets."""
    rows = [
        [
            s.effect,
            s.example,
            f"{s.ratio:.0f}",
            f"{s.target:g}",
            "yes" if s.ratio >= s.target else "NO",
        ]
        for s in measure_speed(setting.home, utterances=setting.utterances)
    ]
    head = ["effect", "condition", "times real time, one core", "at least", "reached"]
    table = markdown_table(rows, head)
    return f"""Lines of the corpus under one condition of every effect, one core, CPU time. Noise is
in memory; its first reading from disk is not counted.

{table}"""


def measure_speed(home: Path, *, utterances: int = 40) -> list[Speed]:
    """Time one condition of every effect on lines of the corpus (CPU time, one core).

    Noise is other lines of the corpus, backwards, already in memory: fetching and decoding noise
    happens once a process. Rooms are timed twice, new ones and ones that were simulated before.

    Args:
        home: folder of everything that can be made again.
        utterances: how many lines.
    """
    items = read_table(games.prepare(home), "quick/asr/test")[:utterances]
    wavs = [clean_sound(item)[::-1].copy() for item in items[:10]]
    clips = tuple(NoiseClip(f"backwards {i}", partial(np.copy, wav)) for i, wav in enumerate(wavs))
    noise = Noise("backwards", (clips,), "0" * 64)
    found = []
    for effect, name in _examples().items():
        chosen = condition(name)
        sources = {value for step in chosen.steps for key, value in step.params if key == "noise"}
        distorter = Distorter(chosen, dict.fromkeys(sources, noise), 4_000.0)
        is_slow = effect in CODECS
        if effect == "reverb":
            room_response.cache_clear()
            ratio = _ratio(distorter, items, warm=False)
            found.append(Speed("reverb, new rooms", name, ratio, AT_LEAST_SLOW))
        target = AT_LEAST_SLOW if is_slow else AT_LEAST
        found.append(Speed(effect, name, _ratio(distorter, items, warm=True), target))
    return found


def _examples() -> dict[str, str]:
    """For every effect the severest rung of its ladder, or else a condition that has no other."""
    found: dict[str, str] = {}
    for item in catalogue().conditions.values():
        effects = {step.effect for step in item.steps}
        if len(item.steps) == 1 and (item.ladder is not None or not effects <= set(found)):
            found[item.steps[0].effect] = item.name
    return dict(sorted(found.items()))


def _ratio(distorter: Distorter, items: list[Utterance], *, warm: bool) -> float:
    """Seconds of sound a CPU second."""
    if warm:
        for item in items:
            distorter(item)
    begin = time.process_time()
    for item in items:
        distorter(item)
    seconds = time.process_time() - begin
    return float(np.sum([item.num_samples for item in items]) / 16_000 / seconds)
