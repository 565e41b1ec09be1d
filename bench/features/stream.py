"""Features that are not stored: every reading is an upstream pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bench.api import Upstream, Utterance
from bench.engine import Engine
from bench.features.passes import num_states, stored_form, upstream_pass
from bench.features.rows import DTYPES, Array, Mode, Rows, empty_rows


@dataclass(frozen=True)
class Stream:
    """A `Source` that stores nothing: every reading is an upstream pass.

    Its features equal those of the store, rounding included.

    Attributes:
        upstream: frozen.
        utterances: N.
        mode: `pooled` or `frames`.
        engine: device and precision.
    """

    upstream: Upstream
    utterances: Sequence[Utterance]
    mode: Mode
    engine: Engine

    @property
    def num_layers(self) -> int:
        """L."""
        return num_states(self.upstream, self.mode)

    @property
    def hidden_size(self) -> int:
        """D."""
        return self.upstream.hidden_size

    def __len__(self) -> int:
        return len(self.utterances)

    def lengths(self) -> list[int]:
        """Return the frames of each utterance."""
        if self.mode == "pooled":
            return [1] * len(self)
        return [self.upstream.num_frames(item.num_samples) for item in self.utterances]

    def rows(self, indices: Sequence[int]) -> Rows:
        """Pass some utterances through the upstream."""
        all_lengths = self.lengths()
        lengths = torch.tensor([all_lengths[index] for index in indices])
        first = lengths.cumsum(0) - lengths
        chosen = [self.utterances[index] for index in indices]
        starts: dict[str, list[int]] = {}
        for item, start in zip(chosen, first.tolist(), strict=True):
            starts.setdefault(item.key, []).append(start)
        states = empty_rows(
            int(lengths.sum()), self.num_layers, self.hidden_size, DTYPES[self.mode]
        )

        def form(hidden: Tensor, item: Utterance) -> Array:
            return stored_form(hidden[:, : self.num_layers], self.mode, item)

        for item, array in upstream_pass(self.upstream, chosen, self.engine, form):
            start = starts[item.key].pop()
            if states.dtype != array.dtype and array.dtype == np.float32:
                states = states.astype(np.float32)  # beyond the range of half precision
            states[start : start + len(array)] = array
        return Rows(torch.from_numpy(states), first, lengths)
