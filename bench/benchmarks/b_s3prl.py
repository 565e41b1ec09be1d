"""The upstream pass and a whole training against s3prl's own modules on the same sound."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate

from bench.audio import Wav
from bench.benchmarks._paired import cpu, in_turn, spread
from bench.benchmarks._setting import EPOCHS, SEEDS, Bed, Setting, scratch
from bench.passes import Engine, clean_sound, forward_bucket
from bench.torchaudio_guard import import_torchaudio

TITLE = "Against s3prl's own modules"
BATCH = 32
EQUAL_SECONDS = 4.0


def measure(setting: Setting) -> str:
    """Bare passes on variable and equal lengths, and 20 epochs of keyword spotting."""
    import_torchaudio()
    with scratch() as root:
        expert = _lighthubert(root / "lighthubert.pt")
        bed = setting.task("ic")
        wavs = [clean_sound(item) for item in bed.train]
        rows = [
            _pass("the corpus' lengths, random batches of 32", setting, bed, expert, wavs),
            _pass(
                f"equal lengths ({EQUAL_SECONDS:g} s), batches of 32",
                setting,
                bed,
                expert,
                _equal(wavs),
            ),
        ]
        training = _training(setting, expert, root)
    head = ["sound", "s3prl / ours (CPU seconds)", "audio s a CPU second, s3prl", "ours"]
    table = tabulate(rows, headers=head, tablefmt="github", disable_numparse=True)
    return f"""LightHuBERT-small, random weights, the same sound: s3prl's expert in batches,
ours as it passes on this machine (utterances alone).

{table}

{training}"""


def _lighthubert(path: Path) -> Any:
    """s3prl's expert of LightHuBERT-small with random weights, through a checkpoint file."""
    from s3prl.upstream.lighthubert.expert import UpstreamExpert
    from s3prl.upstream.lighthubert.lighthubert import LightHuBERT, LightHuBERTConfig

    config = LightHuBERTConfig()
    config.supernet_type = "small"
    model = LightHuBERT(config)
    section = {"_name": "hubert_pruner", "pruner_supernet": "small.yaml"}
    torch.save({"cfg": {"model": section}, "model": model.state_dict()}, path)
    expert: Any = UpstreamExpert(str(path)).eval()
    return expert.requires_grad_(False)


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

    functions = {"s3prl": lambda: _expert_pass(expert, wavs), "ours": ours}
    found = in_turn(functions, setting.repeats)
    theirs, own = cpu(found["s3prl"]), cpu(found["ours"])
    seconds = sum(wav.size for wav in wavs) / 16_000
    ratio = spread([a / b for a, b in zip(theirs, own, strict=True)])
    rates = [spread([seconds / value for value in values], ".1f") for values in (theirs, own)]
    return [name, f"**{ratio}**", *rates]


def _training(setting: Setting, expert: Any, root: Path) -> str:
    """Keyword spotting: its featurizer, projector, head and loop for one epoch; our 20 epochs."""
    bed = setting.task("ks")
    epoch = _s3prl_epoch(bed, expert)
    rates = bed.resolved.card.recipe.lr_grid
    source = bed.extract(root / "kept").read(bed.train)
    rounds = iter(range(1_000))
    found = in_turn(
        {
            "s3prl": epoch,
            "pass": lambda: bed.extract(root / f"pass{next(rounds)}"),
            "one": lambda: bed.fit(source, rates[:1], (0,), root),
            "grid": lambda: bed.fit(source, rates, SEEDS, root),
        },
        setting.repeats,
    )
    theirs, passes, one, grid = (cpu(found[name]) for name in ("s3prl", "pass", "one", "grid"))
    single = [EPOCHS * t / (p + o) for t, p, o in zip(theirs, passes, one, strict=True)]
    whole = [15 * EPOCHS * t / (p + g) for t, p, g in zip(theirs, passes, grid, strict=True)]
    return (
        f"Keyword spotting, {EPOCHS} epochs ({len(bed.train)} utterances, batches of {BATCH}; one "
        f"epoch of s3prl's expert, featurizer, projector, head and loop is timed in each round): "
        f"**{spread(single, '.1f')}** times faster for one head, **{spread(whole, '.0f')}** times "
        "for 5 learning rates x 3 seeds."
    )


def _s3prl_epoch(bed: Bed, expert: Any) -> Any:
    """One epoch of s3prl's protocol of keyword spotting, from its own parts."""
    from s3prl.downstream.model import UtteranceLevel
    from s3prl.upstream.interfaces import Featurizer

    labels = sorted({item.target for item in bed.train})
    featurizer = Featurizer(expert, "hidden_states", upstream_device="cpu")
    projector = torch.nn.Linear(featurizer.output_dim, 256)
    head = UtteranceLevel(256, len(labels), pooling="MeanPooling", activation="ReLU")
    modules = torch.nn.ModuleList([featurizer, projector, head])
    optimizer = torch.optim.Adam(modules.parameters(), lr=1e-4)

    def epoch() -> None:
        order = list(range(len(bed.train)))
        random.Random(0).shuffle(order)
        for start in range(0, len(order), BATCH):
            items = [bed.train[index] for index in order[start : start + BATCH]]
            wavs = [torch.from_numpy(clean_sound(item)) for item in items]
            with torch.no_grad():
                hidden = expert(wavs)
            features = featurizer(wavs, hidden)
            lengths = torch.tensor([len(item) for item in features])
            feats = torch.nn.utils.rnn.pad_sequence(features, batch_first=True)
            predicted, _ = head(projector(feats), lengths)
            answers = torch.tensor([labels.index(item.target) for item in items])
            loss = torch.nn.functional.cross_entropy(predicted, answers)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(modules.parameters(), 1.0)
            optimizer.step()

    return epoch
