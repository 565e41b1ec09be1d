"""A teacher from random weights: masked prediction of k-means units (HuBERT, Hsu et al. 2021).

Spans of the projected frames are replaced by a learned vector. At those frames the last hidden
state h must predict the unit of the replaced frame: p(c) = softmax_c(cos(A h, e_c) / 0.1), section
2.3. Several codebooks at once are HuBERT's cluster ensembles: their losses are added.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from filelock import FileLock
from pydantic import Field, TypeAdapter
from torch import Tensor, nn

from bench.errors import UsageError
from bench.paths import atomic_path
from bench.schema import Frozen, make_model
from bench.trainer import Ingredients
from upstreams.encoder.config import EncoderConfig, encoder_config
from upstreams.encoder.state import State, random_state, trainable, unpack
from upstreams.recipes.pretraining.units import (
    Codebook,
    Units,
    frame_counts,
    make_units,
    parse_codebook,
)
from upstreams.recipes.training.checkpoint import identity
from upstreams.recipes.training.masking import draw_mask
from upstreams.recipes.training.objective import Moment, Objective, TrainedUpstream
from upstreams.recipes.training.precision import at_least_float32
from upstreams.recipes.training.settings import Section
from upstreams.recipes.training.stream import STRIDE_SAMPLES, ClipBatch

TEMPERATURE = 0.1


class PretrainingOptions(Frozen):
    """The recipe's `config`.

    Attributes:
        encoder: keys of `EncoderConfig`.
        codebooks: the kinds of units to predict, as `units.parse_codebook` reads them.
        start_prob: probability that a masked span starts at a frame.
        span: frames masked at a time.
        code_dim: E, the width of projected states and codes.
        units_top_hz: upper edge of the filter bank of the cepstra.
    """

    encoder: Section = Field(default_factory=dict)
    codebooks: tuple[str, ...] = Field(default=("mfcc:128", "context:256"), min_length=1)
    start_prob: float = Field(default=0.075, ge=0, lt=1)
    span: int = Field(default=10, gt=0)
    code_dim: int = Field(default=96, gt=0)
    units_top_hz: float = Field(default=8_000.0, gt=0, le=8_000)


class UnitHead(nn.Module):
    """The scores of the C codes of one codebook: cos(A h, e_c) / 0.1.

    Attributes:
        projection: A, D to E, with a bias as in HuBERT.
        codes: (C, E).
    """

    def __init__(self, width: int, code_dim: int, codes: int) -> None:
        super().__init__()
        self.projection = nn.Linear(width, code_dim)
        self.codes = nn.Parameter(torch.empty(codes, code_dim))

    def draw(self, generator: torch.Generator) -> None:
        """Draw random weights. Only directions of codes count, and short codes turn faster."""
        bound = self.projection.in_features**-0.5
        nn.init.uniform_(self.projection.weight, -bound, bound, generator=generator)
        nn.init.zeros_(self.projection.bias)
        nn.init.normal_(self.codes, std=0.05, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (..., C) of states (..., D)."""
        projected = F.normalize(self.projection(x), dim=-1)
        return projected @ F.normalize(self.codes, dim=-1).T / TEMPERATURE


def unit_heads(width: int, code_dim: int, sizes: Sequence[int], seed: int) -> nn.ModuleList:
    """Return one head a codebook, with random weights of a seed."""
    generator = torch.Generator().manual_seed(seed)
    heads = [UnitHead(width, code_dim, size) for size in sizes]
    for head in heads:
        head.draw(generator)
    return nn.ModuleList(heads)


class Pretraining(Objective):
    """The objective of masked prediction of units."""

    def __init__(
        self,
        config: EncoderConfig,
        options: PretrainingOptions,
        units: Sequence[Sequence[Units]],
        sizes: Sequence[int],
        *,
        seed: int,
    ) -> None:
        """Build encoder and heads.

        Args:
            config: of the encoder.
            options: of masks and heads.
            units: a list for each codebook, with the units (T,) of each clip.
            sizes: C of each codebook.
            seed: of the weights.

        Raises:
            UsageError: an encoder whose stride is not that of the units.
        """
        super().__init__()
        self.config = config
        self.options = options
        self.units = units
        self.encoder = trainable(config, random_state(config, seed))
        self.heads = unit_heads(config.embed_dim, options.code_dim, sizes, seed)
        self.mask = nn.Parameter(torch.empty(config.embed_dim))
        nn.init.uniform_(self.mask, generator=torch.Generator().manual_seed(seed))
        self.min_samples = self.encoder.min_samples
        if self.encoder.stride != STRIDE_SAMPLES:
            raise UsageError(
                f"recipe config: units have a stride of {STRIDE_SAMPLES} samples, the encoder of "
                f"{self.encoder.stride}"
            )

    def loss(self, batch: ClipBatch, at: Moment) -> tuple[Tensor, dict[str, float]]:
        """Return the mean cross-entropy at masked frames, summed over codebooks."""
        x, frames = self.encoder.project(batch.wavs, batch.lengths)
        start_prob, span = self.options.start_prob, self.options.span
        drawn = draw_mask(batch, self.encoder.num_frames, start_prob, span, at.generator)
        masked, share = drawn.mask.to(x.device), drawn.share
        x = torch.where(masked.unsqueeze(-1), self.mask.to(x.dtype), x)
        chosen = self.encoder.transform(x, frames)[-1][masked]
        total = chosen.new_zeros(())
        figures: dict[str, float] = {}
        for index, head in enumerate(self.heads):
            targets = self._targets(index, batch, frames, x.shape[1]).to(x.device)[masked]
            logits = at_least_float32(head(chosen))
            loss = F.cross_entropy(logits, targets) * share
            total = total + loss
            figures[f"ce{index}"] = loss.item()
            correct = (logits.argmax(-1) == targets).float().mean().item()
            figures[f"accuracy{index}"] = share * correct
        return total, figures

    def _targets(self, book: int, batch: ClipBatch, frames: Tensor, max_frames: int) -> Tensor:
        """Return the units (B, T) of a batch, zeros on padding."""
        out = torch.zeros(len(batch.indices), max_frames, dtype=torch.long)
        parts = zip(batch.indices, batch.starts, frames.tolist(), strict=True)
        for row, (index, start, count) in enumerate(parts):
            first = start // STRIDE_SAMPLES
            units = self.units[book][index][first : first + count].astype(np.int64)
            out[row, :count] = torch.from_numpy(units)
        return out

    def product(self) -> TrainedUpstream:
        """Return the encoder, with heads and mask embedding as extras for other recipes."""
        extras: State = {f"heads.{key}": value for key, value in self.heads.state_dict().items()}
        extras["mask"] = self.mask.detach()
        return TrainedUpstream(config_section(self.config), unpack(self.encoder), extras)


def config_section(config: EncoderConfig) -> dict[str, object]:
    """Return the keys of a card's `config` in which an encoder differs from HuBERT Base."""
    as_json = partial(TypeAdapter(EncoderConfig).dump_python, mode="json")
    default = as_json(EncoderConfig())
    return {key: value for key, value in as_json(config).items() if value != default[key]}


def make(source: Ingredients) -> Objective:
    """Build the objective that the recipe's `config` describes; cluster units if no file has them.

    Raises:
        UsageError: an invalid configuration.
    """
    options = make_model(PretrainingOptions, dict(source.config), "recipe config")
    encoder = encoder_config(options.encoder)
    books = [parse_codebook(text) for text in options.codebooks]
    units = [_units(source, book, options.units_top_hz) for book in books]
    # The mask vector is stored beside the encoder, so it does not count as its parameters.
    encoder = replace(encoder, mask_embedding=0)
    sizes = [book.size for book in books]
    return Pretraining(encoder, options, units, sizes, seed=source.seed)


def _units(source: Ingredients, book: Codebook, top_hz: float) -> list[Units]:
    """Return the units of one codebook, from their file; the first process makes it.

    Units stay in the file and are read where a batch needs them.
    """
    keys = [clip.key for clip in source.clips]
    teacher = [source.teacher_sha256] if book.of_teacher else []
    digest = identity(asdict(book), top_hz, source.seed, keys, *teacher)
    path = source.folder / f"units-{book.features}-{book.size}-{digest[:12]}.npy"
    with FileLock(path.with_suffix(".lock")):
        if not path.exists():
            clips = len(source.clips)
            source.say(f"clustering {book.features} of {clips} clips into {book.size} units")
            _write_units(path, source, book, top_hz)
    units: Units = np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    ends = np.cumsum(frame_counts(book, source.clips, source.teacher))
    return [units[begin:end] for begin, end in pairwise([0, *ends.tolist()])]


def _write_units(path: Path, source: Ingredients, book: Codebook, top_hz: float) -> None:
    """Write the units of all frames, in the order of the clips: int16."""
    if book.of_teacher and source.teacher is not None:
        source.teacher.to(source.device)
    blocks = make_units(
        book,
        source.clips,
        source.read,
        teacher=source.teacher,
        top_hz=top_hz,
        seed=source.seed,
    )
    total = int(frame_counts(book, source.clips, source.teacher).sum())
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        header = {"descr": "<i2", "fortran_order": False, "shape": (total,)}
        np.lib.format.write_array_header_1_0(file, header)
        for block in blocks:
            file.write(block.astype("<i2").tobytes())
