"""Two updates of every recipe at full size, with random weights, and the size of the outcome.

Sound and teachers are random, batches are short. Shapes, parts and losses are those of the recipe.
A pruned model has its target after thousands of updates only, so its gates are moved to the target
before the parts behind closed gates are removed.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from bench.api import Utterance
from bench.load.catalog import upstream_card
from bench.load.loader import load_upstream
from bench.make.recipe import (
    RecipeCard,
    head_maker,
    recipe_card,
    recipe_names,
    task_and_data,
    with_settings,
)
from bench.measure.cost import SLT2022_BUCKETS
from bench.paths import write_text
from bench.progress import say
from bench.seeds import derive_seed
from bench.session import Session
from bench.trainer import Ingredients
from tools.markdown import markdown_table
from upstreams.encoder.config import EncoderConfig, encoder_config
from upstreams.encoder.state import num_parameters
from upstreams.recipes.pruning.sizes import LayerCounts, macs_of
from upstreams.recipes.training.objective import Objective
from upstreams.recipes.training.trainer import ObjectiveTrainer
from upstreams.supernet.subnet import parse_subnet, search_space, subnet_config

CLIP_SAMPLES = 19_200
CODES = (504, 256)  # of HuBERT Base: 500 units and fairseq's 4 special ones, width of a code
# The published model that a recipe repeats, and the other teacher of its family.
PUBLISHED = {
    ("distilhubert", "hubert_base"): "distilhubert",
    ("dphubert", "hubert_base"): "dphubert",
    ("dphubert", "wavlm_base_plus"): "dpwavlm",
    ("lighthubert_small", "hubert_base"): "lighthubert_small",
    ("lighthubert_base", "hubert_base"): "lighthubert_base",
}
OTHER_TEACHERS = {
    "distilhubert": ("wav2vec2_base", "wavlm_base_plus"),
    "dphubert": ("wavlm_base_plus",),
}
SETTINGS = {
    "training.updates": 2,
    "training.batch_s": 2.4,
    "training.batch_clips": 2,
    "training.accumulate": 1,
    "training.loaders": 0,
    "training.min_s": 0.0,
    "training.max_s": 1.2,
    "training.precision": "float32",
    "training.held_out": 0,
    "training.keep_best": False,
    "training.validate_every": 0,
}


@dataclass(frozen=True)
class DryRun:
    """The outcome of a recipe's two updates.

    Attributes:
        recipe: its name.
        teacher: the name of the teacher.
        seconds: of wall clock, with the building of the models.
        params: of what comes out.
        macs: multiply-accumulates on the 32 utterances of the SUPERB challenge, by rule `plain`.
    """

    recipe: str
    teacher: str
    seconds: float
    params: int
    macs: float


def planned() -> Iterator[tuple[str, str]]:
    """Yield recipe and teacher of every dry run."""
    for name in recipe_names():
        teacher = recipe_card(name).teacher
        if not name.startswith("house_") and teacher is not None:
            yield name, teacher
            yield from ((name, other) for other in OTHER_TEACHERS.get(name, ()))


def dry_run(
    name: str, teacher_name: str | None, settings: Mapping[str, Any] = MappingProxyType({})
) -> DryRun:
    """Make two updates of a recipe.

    Args:
        name: of the recipe.
        teacher_name: None for a recipe without a teacher.
        settings: keys of the recipe by their path, over `SETTINGS`.

    Raises:
        UserError: a recipe that does not run.
    """
    begun = time.monotonic()
    card = with_settings(recipe_card(name), {**SETTINGS, **settings})
    teacher = None
    if teacher_name is not None:
        teacher = load_upstream(f"{teacher_name}+untrained", Session()).upstream
    trainer = ObjectiveTrainer(card.training, torch.device("cpu"))
    with tempfile.TemporaryDirectory() as folder:
        clips = [_clip(index, card) for index in range(4)]
        task, _ = task_and_data(card, None)
        source = Ingredients(
            config=card.config,
            teacher=teacher,
            teacher_file=_write_codes(Path(folder)) if card.config.get("code_weight") else None,
            clips=clips,
            read=_noise,
            seed=0,
            folder=Path(folder),
            say=say,
            distort=_louder,
            make_head=head_maker(task, clips) if task is not None else None,
        )
        trainer.set_up(card.make, source, {}, lambda _: None)
        trainer.rehearse(1)
    config = _outcome(trainer.objective)
    return DryRun(
        name,
        teacher_name or "-",
        time.monotonic() - begun,
        num_parameters(config),
        count_macs(config),
    )


def _clip(index: int, card: RecipeCard) -> Utterance:
    """Return a clip of noise with a target that every task reads."""
    return Utterance(
        id=str(index),
        path=Path(f"{card.name}-{index}"),
        start=0,
        num_samples=CLIP_SAMPLES,
        target="AB"[index % 2],
        speaker="",
        source="noise",
        key=str(index),
    )


def _noise(clip: Utterance, start: int, num_samples: int) -> Tensor:
    """Return samples (num_samples,) of noise."""
    generator = torch.Generator().manual_seed(derive_seed("noise", clip.id, start))
    return 0.1 * torch.randn(num_samples, generator=generator)


def _louder(wav: Tensor, index: int, number: int) -> Tensor:
    """Stand for a distortion."""
    return wav * (1 + (index + number) % 2)


def _write_codes(folder: Path) -> Path:
    """Write random unit heads in HuBERT's layout; return the file."""
    count, width = CODES
    path = folder / "codes.pt"
    tensors: dict[str, Any] = {
        "final_proj.weight": torch.randn(width, 768) * 768**-0.5,
        "final_proj.bias": torch.zeros(width),
        "label_embs_concat": torch.randn(count, width),
    }
    torch.save({"model": tensors}, path)
    return path


def _outcome(objective: Objective) -> EncoderConfig:
    """Return the shape of the upstream."""
    section = dict(objective.product().config)
    if "supernet" not in section:
        return encoder_config(section)
    whole = encoder_config(section["supernet"])
    space = search_space(section["search_space"], whole.num_layers)
    return subnet_config(whole, parse_subnet(section["default"], space, space.largest()))


def count_macs(config: EncoderConfig) -> float:
    """Return the multiply-accumulates on the utterances of the challenge, by rule `plain`."""
    channels = [channels for channels, _, _ in config.conv_layers]
    layers = LayerCounts(config.heads, config.ffn)
    sizes = (size for bucket in SLT2022_BUCKETS.values() for size in bucket)
    return float(sum(macs_of(config, channels, layers, size) for size in sizes))


def write_page(runs: list[DryRun], path: Path) -> None:
    """Write the page of all dry runs."""
    head = ["recipe", "teacher", "seconds", "parameters, M", "published", "MACs, G", "published"]
    total = sum(run.seconds for run in runs)
    text = f"""# Dry runs at full size

`make dry-runs` wrote this page: two updates of each recipe at its full size, on one CPU thread,
with random weights and noise for sound, and the size of the model that comes out. {len(runs)} runs
took {total:.0f} s ({total / 60:.1f} minutes), with the building of the models.

Multiply-accumulates are those on the 32 utterances of the SUPERB challenge by rule `plain`, closed
form; the rule behind the published figure of HuBERT Base gives 0.2 % more. Gates of pruned models
are moved to the target by one shift for all, where a training finds the value of each: their
parameters are those of a training, their multiply-accumulates are not. For LightHuBERT it is the
default subnet. A dash: nothing was published.

{markdown_table([_row(run) for run in runs], head)}
"""
    write_text(path, text)


def _row(run: DryRun) -> list[str]:
    """Return the cells of one dry run."""
    name = PUBLISHED.get((run.recipe, run.teacher))
    reported = upstream_card(name).reported if name else {}
    params, macs = reported.get("params"), reported.get("macs_superb")
    return [
        f"`{run.recipe}`",
        f"`{run.teacher}`",
        f"{run.seconds:.0f}",
        f"{run.params / 1e6:.2f}",
        f"{params / 1e6:.2f}" if params else "-",
        f"{run.macs / 1e9:.1f}",
        f"{macs / 1e9:.1f}" if macs else "-",
    ]
