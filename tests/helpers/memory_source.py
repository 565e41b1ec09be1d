"""Features in memory, for tests of training that need no sound and no upstream."""

from collections.abc import Sequence

import torch
from torch import Tensor

from bench.features.rows import Rows


class MemorySource:
    """A source of features of N utterances.

    Args:
        states: of each utterance, (T, L, D).
    """

    def __init__(self, states: Sequence[Tensor]):
        self.states = list(states)
        self.reads: list[tuple[int, ...]] = []
        _, self.num_layers, self.hidden_size = self.states[0].shape

    def __len__(self) -> int:
        return len(self.states)

    def lengths(self) -> list[int]:
        return [len(item) for item in self.states]

    def rows(self, indices: Sequence[int]) -> Rows:
        self.reads.append(tuple(indices))
        parts = [self.states[index] for index in indices]
        lengths = torch.tensor([len(part) for part in parts])
        padding = torch.zeros(1, self.num_layers, self.hidden_size)
        return Rows(torch.cat([*parts, padding]), lengths.cumsum(0) - lengths, lengths)


def random_source(lengths: Sequence[int], *, layers: int = 2, size: int = 3, seed: int = 0):
    """Return a source of Gaussian features."""
    generator = torch.Generator().manual_seed(seed)
    return MemorySource([torch.randn(n, layers, size, generator=generator) for n in lengths])


def labelled_source(labels: Sequence[str], *, high: str, size: int = 3, seed: int = 0):
    """Return a source of one frame an utterance, positive where the label is `high`."""
    source = random_source([1] * len(labels), size=size, seed=seed)
    for label, states in zip(labels, source.states, strict=True):
        states.mul_(0.1).add_(1.0 if label == high else -1.0)
    return source
