"""Class numbers for the labels of the training split."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from bench.errors import InvalidDataError


class Labels:
    """The classes of a head: the sorted set of the labels of the training split.

    Attributes:
        names: C labels; the number of a class is its position.
    """

    def __init__(self, targets: Sequence[Any]) -> None:
        self.names: list[str] = sorted(set(targets))
        self._index = {name: index for index, name in enumerate(self.names)}

    def __len__(self) -> int:
        return len(self.names)

    def encode(self, targets: Sequence[Any]) -> Tensor:
        """Return the class numbers (N,) of N labels.

        Raises:
            InvalidDataError: a label is not in the training split.
        """
        unknown = sorted({str(label) for label in targets if label not in self._index})
        if unknown:
            raise InvalidDataError(f"labels not in the training split: {', '.join(unknown[:3])}")
        return torch.tensor([self._index[label] for label in targets])
