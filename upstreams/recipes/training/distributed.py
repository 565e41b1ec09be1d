"""Several processes for one training, by torch's DistributedDataParallel under `torchrun`.

An update has the same clips whatever the number of processes. They are dealt out to shards, one or
more for each process. The terms of a loss are weighted by the shard's part of the frames (or clips)
that a mean is over, so that the sum over shards is the loss of the whole.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from bench.errors import MissingError, UsageError

TIMEOUT = timedelta(minutes=10)  # of a process that the others wait for; torch's for NCCL


@dataclass(frozen=True)
class Processes:
    """The processes of a training and the shards of each.

    Attributes:
        rank: number of this process, from 0.
        count: number of processes.
        accumulate: shards that each process passes in turn for one update.
    """

    rank: int = 0
    count: int = 1
    accumulate: int = 1

    @property
    def num_shards(self) -> int:
        """Number of shards of an update."""
        return self.count * self.accumulate

    @property
    def own_shards(self) -> Sequence[int]:
        """The shards of this process."""
        return range(self.rank, self.num_shards, self.count)

    def agree(self, digest: str) -> None:
        """Check that all processes train the same: configuration, data and number of shards.

        Raises:
            UsageError: this process or another one differs from the first.
        """
        if self.count == 1:
            return
        digests: list[Any] = [None] * self.count
        distributed.all_gather_object(digests, (digest, self.accumulate))
        others = [rank for rank, other in enumerate(digests) if other != digests[0]]
        if others:
            raise UsageError(
                f"torchrun: process {others[0]} of {self.count} has another recipe, other data or "
                f"other options than process 0: start all with the same command and files"
            )

    def wrap(self, module: nn.Module) -> nn.Module:
        """Return the module to call for a loss: itself, or one that sums gradients.

        Parameters that are frozen now are left out, so a new stage needs a new call.
        """
        if self.count == 1:
            return module
        return DistributedDataParallel(module, find_unused_parameters=True)

    def accumulating(self, model: nn.Module, is_last: bool) -> AbstractContextManager[None]:
        """Return the context of a shard's pass: gradients are exchanged after the last only."""
        if isinstance(model, DistributedDataParallel) and not is_last:
            return model.no_sync()
        return nullcontext()

    def total(self, figures: dict[str, float], device: torch.device) -> dict[str, float]:
        """Return the figures summed over all processes, which must have the same keys."""
        if self.count == 1:
            return figures
        values = torch.tensor([figures[key] for key in sorted(figures)], dtype=torch.float64)
        values = values.to(device)
        distributed.all_reduce(values)
        return dict(zip(sorted(figures), values.tolist(), strict=True))


def join(device: torch.device, accumulate: int) -> Processes:
    """Join the processes that `torchrun` started; one process alone without it.

    Raises:
        UsageError: more processes than CUDA devices on this machine.
        MissingError: the processes cannot reach each other.
    """
    count, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    if count == 1:
        return Processes(accumulate=accumulate)
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if device.type == "cuda":
        if local >= torch.cuda.device_count():
            raise UsageError(
                f"torchrun: process {local} of this machine has no CUDA device: start at most "
                f"{torch.cuda.device_count()} (--nproc-per-node)"
            )
        torch.cuda.set_device(local)
    if not distributed.is_initialized():
        try:
            kind = "nccl" if device.type == "cuda" else "gloo"
            distributed.init_process_group(kind, timeout=TIMEOUT)
        except (RuntimeError, ValueError) as error:
            raise MissingError(
                f"torchrun: process {rank} of {count} cannot join the others: {error}"
            ) from error
    return Processes(rank, count, accumulate)
