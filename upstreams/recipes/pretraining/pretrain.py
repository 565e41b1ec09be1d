"""A teacher from nothing: masked prediction of k-means units (HuBERT, Hsu et al. 2021).

Spans of the projected frames are replaced by a learned vector; at those frames the last hidden
state h must tell the unit of what was there: p(c) = softmax_c(cos(A h, e_c) / 0.1), section 2.3.
Several codebooks at once are HuBERT's cluster ensembles: their losses add up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from bench.errors import UsageError
from bench.paths import atomic_path
from upstreams.encoder.config import EncoderConfig, encoder_config
from upstreams.encoder.state import State, random_state, trainable, unpack
from upstreams.recipes.pretraining.units import Codebook, Units, make_units, parse_codebook
from upstreams.recipes.training.identity import identity
from upstreams.recipes.training.masking import hide
from upstreams.recipes.training.objective import Ingredients, Moment, Objective, Product
from upstreams.recipes.training.precision import at_least_single
from upstreams.recipes.training.section import read_section, section_of
from upstreams.recipes.training.stream import STRIDE_SAMPLES, Batch

TEMPERATURE = 0.1


@dataclass(frozen=True)
class Options:
    """Keys of the recipe's `config`, beside `encoder`.

    Attributes:
        codebooks: what is predicted, as `upstreams.recipes.pretraining.units` reads it.
        start_prob: probability that a masked span starts at a frame.
        span: frames masked at a time.
        code_dim: width in which states and codes are compared.
        units_top_hz: upper edge of the filter bank that the cepstra are made from.
    """

    codebooks: tuple[str, ...] = ("mfcc:128", "context:256")
    start_prob: float = 0.075
    span: int = 10
    code_dim: int = 96
    units_top_hz: float = 8_000.0


class UnitHead(nn.Module):
    """Scores of the C codes of one codebook: cos(A h, e_c) / 0.1.

    Attributes:
        projection: A, D to E without bias in the comparison (HuBERT has one; kept).
        codes: (C, E).
    """

    def __init__(self, width: int, code_dim: int, codes: int) -> None:
        super().__init__()
        self.projection = nn.Linear(width, code_dim)
        self.codes = nn.Parameter(torch.empty(codes, code_dim))

    def draw(self, generator: torch.Generator) -> None:
        """Random weights. Codes start short: only directions count, and short ones turn faster."""
        bound = self.projection.in_features**-0.5
        nn.init.uniform_(self.projection.weight, -bound, bound, generator=generator)
        nn.init.zeros_(self.projection.bias)
        nn.init.normal_(self.codes, std=0.05, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (..., C) of states (..., D)."""
        projected = F.normalize(self.projection(x), dim=-1)
        return projected @ F.normalize(self.codes, dim=-1).T / TEMPERATURE


def unit_heads(width: int, code_dim: int, sizes: Sequence[int], seed: int) -> nn.ModuleList:
    """One head a codebook, drawn from a seed."""
    generator = torch.Generator().manual_seed(seed)
    heads = [UnitHead(width, code_dim, size) for size in sizes]
    for head in heads:
        head.draw(generator)
    return nn.ModuleList(heads)


class Pretrain(Objective):
    """Masked prediction of units."""

    def __init__(
        self,
        config: EncoderConfig,
        options: Options,
        units: Sequence[Sequence[Units]],
        sizes: Sequence[int],
        *,
        seed: int,
    ) -> None:
        """Build.

        Args:
            config: of the encoder.
            options: of the task.
            units: of every codebook, for every clip (T,).
            sizes: C of every codebook.
            seed: of the weights.

        Raises:
            UsageError: an encoder with another stride than the units'.
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
                f"recipe config: units stand every {STRIDE_SAMPLES} samples, the encoder's frames "
                f"every {self.encoder.stride}"
            )

    def loss(self, batch: Batch, at: Moment) -> tuple[Tensor, dict[str, float]]:
        """Mean cross-entropy at masked frames, added over codebooks."""
        x, frames = self.encoder.project(batch.wavs, batch.lengths)
        options = self.options
        x, masked = hide(
            x,
            frames,
            self.mask,
            start_prob=options.start_prob,
            span=options.span,
            generator=at.generator,
        )
        chosen = self.encoder.transform(x, frames)[-1][masked]
        total = chosen.new_zeros(())
        figures: dict[str, float] = {}
        for index, head in enumerate(self.heads):
            targets = self._targets(index, batch, frames, x.shape[1]).to(x.device)[masked]
            logits = at_least_single(head(chosen))
            loss = F.cross_entropy(logits, targets)
            total = total + loss
            figures[f"ce{index}"] = loss.item()
            figures[f"accuracy{index}"] = (logits.argmax(-1) == targets).float().mean().item()
        return total, figures

    def _targets(self, book: int, batch: Batch, frames: Tensor, max_frames: int) -> Tensor:
        """Units (B, T) of a batch, zeros on padding."""
        out = torch.zeros(len(batch.indices), max_frames, dtype=torch.long)
        places = zip(batch.indices, batch.starts, frames.tolist(), strict=True)
        for row, (index, start, count) in enumerate(places):
            first = start // STRIDE_SAMPLES
            part = self.units[book][index][first : first + count].astype(np.int64)
            out[row, :count] = torch.from_numpy(part)
        return out

    def product(self) -> Product:
        """The encoder; heads and mask embedding lie beside it for recipes that need them."""
        extras: State = {f"heads.{key}": value for key, value in self.heads.state_dict().items()}
        extras["mask"] = self.mask.detach()
        return Product(config_section(self.config), unpack(self.encoder), extras)


def config_section(config: EncoderConfig) -> dict[str, object]:
    """The keys of a card's `config` in which an encoder differs from HuBERT Base."""
    default, mine = asdict(EncoderConfig()), asdict(config)
    section: dict[str, object] = {}
    for key, value in mine.items():
        if value != default[key]:
            section[key] = _plain(value)
    return section


def _plain(value: object) -> object:
    """Tuples as lists, all the way down."""
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def make(source: Ingredients) -> Objective:
    """The objective that the recipe's `config` describes; units are made once and kept.

    Raises:
        UsageError: a configuration that does not hold.
    """
    section = dict(source.config)
    encoder = encoder_config(section_of(section, "encoder"))
    options = read_section(Options, section, "recipe config")
    if not options.codebooks:
        raise UsageError("recipe config: 'codebooks' is empty: nothing to predict")
    books = [parse_codebook(str(text)) for text in options.codebooks]
    units = [_units(source, book, options.units_top_hz) for book in books]
    # The mask vector lies beside the encoder, so the encoder is not charged for it.
    encoder = replace(encoder, mask_embedding=0)
    sizes = [book.size for book in books]
    return Pretrain(encoder, options, units, sizes, seed=source.seed)


def _units(source: Ingredients, book: Codebook, top_hz: float) -> list[Units]:
    """The units of one codebook: made, or read where they were made before."""
    keys = [clip.key for clip in source.clips]
    whose = [source.teacher_sha256] if book.of_teacher else []
    about = identity(asdict(book), top_hz, source.seed, keys, *whose)
    path = source.folder / f"units-{book.features}-{book.size}-{about[:12]}.npz"
    if path.exists():
        kept = np.load(path, allow_pickle=False)
        return list(np.split(kept["units"], kept["ends"][:-1]))
    source.say(f"clustering {book.features} of {len(source.clips)} clips into {book.size} units")
    made = make_units(
        book,
        source.clips,
        source.read,
        teacher=source.teacher,
        top_hz=top_hz,
        seed=source.seed,
    )
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        ends = np.cumsum([len(item) for item in made])
        np.savez_compressed(file, units=np.concatenate(made), ends=ends)
    return made
