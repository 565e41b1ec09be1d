"""Labels of the training split, as numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from bench.errors import InvalidDataError


class Labels:
    """The classes of a head: the sorted set of the training split's labels.

    Attributes:
        names: C labels; a class's number is its place.
    """

    def __init__(self, targets: Sequence[Any]) -> None:
        self.names: list[str] = sorted(set(targets))
        self._index = {name: index for index, name in enumerate(self.names)}

    def __len__(self) -> int:
        return len(self.names)

    def encode(self, targets: Sequence[Any]) -> Tensor:
        """Labels to class numbers (B,).

        Raises:
            InvalidDataError: a label that the training split does not have.
        """
        unknown = sorted({str(label) for label in targets if label not in self._index})
        if unknown:
            raise InvalidDataError(f"labels not in the training split: {', '.join(unknown[:3])}")
        return torch.tensor([self._index[label] for label in targets])
