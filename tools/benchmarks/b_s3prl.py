"""The upstream pass and a whole training against s3prl's own modules on the same sound."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from bench.engine import Engine
from bench.features.passes import clean_sound, forward_bucket
from bench.features.placement import place
from bench.sound.audio import Wav
from bench.sound.torchaudio_guard import import_torchaudio
from tools.benchmarks import _s3prl as s3prl_parts
from tools.benchmarks._paired import cpu, in_turn, spread
from tools.benchmarks._setting import EPOCHS, SEEDS, Bed, Setting, scratch, smaller
from tools.markdown import markdown_table

TITLE = "Against s3prl's own modules"
BATCH = 32
EQUAL_SECONDS = 4.0
POOLED, FRAMES = ("ks", "ic", "sid"), ("asr",)  # s3prl has no head like that of SLU here
FEWER = 16  # utterances of a task on frames: a whole batch of its recipe


def measure(setting: Setting) -> str:
    """Bare passes on variable and equal lengths, and 20 epochs of tasks from its own parts."""
    import_torchaudio()
    distil = replace(setting, upstream="distilhubert+untrained")
    with scratch() as root:
        small = s3prl_parts.lighthubert(root / "lighthubert.pt")
        distilhubert = s3prl_parts.distilhubert(root / "distilhubert.pt")
        bed = setting.task("ic")
        wavs = [clean_sound(item) for item in bed.train]
        lengths = {
            "the corpus' lengths, random batches of 32": wavs,
            f"equal lengths ({EQUAL_SECONDS:g} s), batches of 32": _equal(wavs),
        }
        rows = [_pass(name, setting, bed, small, sound) for name, sound in lengths.items()]
        experts = {
            "LightHuBERT-small": (setting, small),
            "DistilHuBERT": (distil, distilhubert),
        }
        trainings = [
            _training(name, own if task in POOLED else smaller(own, FEWER), task, expert, root)
            for name, (own, expert) in experts.items()
            for task in (*POOLED, *FRAMES)
        ]
    head = ["sound", "s3prl / ours (CPU seconds)", "audio s a CPU second, s3prl", "ours"]
    tasks = ["upstream", "task", "utterances", "one head, 20 epochs", "grid x 3 seeds"]
    return f"""LightHuBERT-small with random weights on the same sound: s3prl's expert in
batches, ours one utterance at a time, as on every CPU.

{markdown_table(rows, head)}

Whole trainings of {EPOCHS} epochs: how many times faster than s3prl's expert, featurizer,
projector, head and loop, of which one epoch is timed in each round (batches as in each task's
recipe; ASR with the recurrent layers of its `open` recipe; the grid is that of the task's card):

{markdown_table(trainings, tasks)}"""


def _equal(wavs: Sequence[Wav]) -> list[Wav]:
    """As much sound in pieces of one length."""
    import numpy as np

    whole, size = np.concatenate(wavs), int(EQUAL_SECONDS * 16_000)
    return [whole[at : at + size] for at in range(0, len(whole) - size + 1, size)]


@torch.inference_mode()
def _expert_pass(expert: Any, wavs: Sequence[Wav]) -> None:
    order = list(range(len(wavs)))
    random.Random(0).shuffle(order)
    for start in range(0, len(order), BATCH):
        batch = [torch.from_numpy(wavs[index]) for index in order[start : start + BATCH]]
        expert(batch)["hidden_states"]


def _pass(name: str, setting: Setting, bed: Bed, expert: Any, wavs: Sequence[Wav]) -> list[str]:
    def ours() -> None:
        for wav in wavs:
            forward_bucket(bed.upstream, [wav], Engine())

    place(bed.upstream, Engine())
    functions = {"s3prl": lambda: _expert_pass(expert, wavs), "ours": ours}
    found = in_turn(functions, setting.repeats)
    theirs, own = cpu(found["s3prl"]), cpu(found["ours"])
    seconds = sum(wav.size for wav in wavs) / 16_000
    ratio = spread([a / b for a, b in zip(theirs, own, strict=True)])
    rates = [spread([seconds / value for value in values], ".1f") for values in (theirs, own)]
    return [name, f"**{ratio}**", *rates]


def _training(name: str, setting: Setting, task: str, expert: Any, root: Path) -> list[str]:
    """One epoch of its parts; our pass and 20 epochs, of one head and of the whole grid."""
    bed = setting.task(task)
    rates = bed.resolved.card.recipe.lr_grid
    root = root / name / task
    root.mkdir(parents=True)
    source = bed.extract(root / "kept").read(bed.train)
    rounds = iter(range(1_000))
    found = in_turn(
        {
            "s3prl": s3prl_parts.epoch(bed, expert),
            "pass": lambda: bed.extract(root / f"pass{next(rounds)}"),
            "one": lambda: bed.fit(source, rates[:1], (0,), root),
            "grid": lambda: bed.fit(source, rates, SEEDS, root),
        },
        setting.repeats,
    )
    theirs, passes, one, grid = (cpu(found[key]) for key in ("s3prl", "pass", "one", "grid"))
    single = [EPOCHS * t / (p + o) for t, p, o in zip(theirs, passes, one, strict=True)]
    points = len(rates) * len(SEEDS)
    whole = [points * EPOCHS * t / (p + g) for t, p, g in zip(theirs, passes, grid, strict=True)]
    cells = f"**{spread(single, '.1f')}**", f"**{spread(whole, '.0f')}**"
    return [name, task, str(len(bed.train)), *cells]
