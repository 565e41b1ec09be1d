"""Batches read ahead of the training: sound, and its distortions, in processes of the loader."""

from __future__ import annotations

import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch.utils.data import DataLoader, Dataset

from bench.errors import MissingError, UserError
from upstreams.recipes.training.distributed import Processes
from upstreams.recipes.training.stream import ClipBatch, ClipPart, ClipStream

STOPS = (signal.SIGINT, signal.SIGTERM)  # of Ctrl-C and of a scheduler
READ_AHEAD = 2  # updates that each process of the loader has read or reads

# Completes a shard of the update with a number, such as by distorting its sound.
Prepare = Callable[[ClipBatch, int], ClipBatch]


class PlannedUpdate(NamedTuple):
    """The clips of one update.

    Attributes:
        step: number of the update, from 0.
        epoch, number: of the batch after it.
        parts: of all clips.
    """

    step: int
    epoch: int
    number: int
    parts: list[ClipPart]


class LoadedUpdate(NamedTuple):
    """The shards of one update for this process; `epoch` and `number` are of the batch after it."""

    epoch: int
    number: int
    shards: list[ClipBatch]


@dataclass(frozen=True)
class _Shards(Dataset[LoadedUpdate | UserError]):
    """The shards of a process by planned update, as torch's loader asks for them."""

    stream: ClipStream
    processes: Processes
    prepare: Prepare

    def __getitem__(self, update: PlannedUpdate) -> LoadedUpdate | UserError:
        """Read one update; an error is returned, as torch's loader would add a traceback to it."""
        try:
            shards = [
                self.prepare(
                    self.stream.load_shard(update.parts, shard, self.processes.num_shards),
                    update.step,
                )
                for shard in self.processes.own_shards
            ]
        except UserError as error:
            return error
        return LoadedUpdate(update.epoch, update.number, shards)


@dataclass(frozen=True)
class UpdateLoader:
    """The reader of a training's updates.

    Attributes:
        stream: the clips.
        processes: say which shards are read.
        prepare: completes each shard.
        loaders: processes that read ahead; with 0 the training reads in its own process.
    """

    stream: ClipStream
    processes: Processes
    prepare: Prepare
    loaders: int

    def updates(self, epoch: int, skip: int, step: int) -> Iterator[LoadedUpdate]:
        """Yield updates in the order of the plan, whatever the number of loaders; without an end.

        Args:
            epoch: of the first batch.
            skip: number of the first batch in its epoch.
            step: number of the first update.

        Raises:
            UserError: unreadable sound.
        """
        planned = self._planned(epoch, skip, step)
        shards = _Shards(self.stream, self.processes, self.prepare)
        for update in (
            self._ahead(shards, planned) if self.loaders else map(shards.__getitem__, planned)
        ):
            if isinstance(update, UserError):
                raise update
            yield update

    def _planned(self, epoch: int, skip: int, step: int) -> Iterator[PlannedUpdate]:
        while True:
            plan = self.stream.plan(epoch)
            for number in range(skip, len(plan)):
                yield PlannedUpdate(step, epoch, number + 1, plan[number])
                step += 1
            epoch, skip = epoch + 1, 0

    def _ahead(
        self, shards: _Shards, planned: Iterator[PlannedUpdate]
    ) -> Iterator[LoadedUpdate | UserError]:
        # torch warns of more processes than cores, in two lines with a path each; the user chose.
        warnings.filterwarnings("ignore", "This DataLoader will create")
        # Forked processes have the clips and the distortions without a copy.
        with _signals_held():
            return iter(
                DataLoader(
                    shards,
                    batch_size=None,
                    sampler=planned,
                    num_workers=self.loaders,
                    prefetch_factor=READ_AHEAD,
                    collate_fn=lambda update: update,
                    multiprocessing_context="fork",
                    worker_init_fn=_leave_signals,
                    generator=torch.Generator(),  # else it would draw from torch's own
                )
            )


@contextmanager
def loaders_watched() -> Iterator[None]:
    """Run a block that reads ahead.

    Raises:
        MissingError: a process of the loader was killed, which shows at any place of the block.
    """
    try:
        yield
    except (RuntimeError, ConnectionError, EOFError) as error:
        if isinstance(error, RuntimeError) and not str(error).startswith("DataLoader worker (pid"):
            raise
        raise MissingError(
            "training: a process that reads ahead was killed, perhaps for want of memory or of "
            "shared memory (/dev/shm): lower --loaders; the last checkpoint is kept"
        ) from error


def _leave_signals(_loader: int) -> None:
    """Leave a stop to the training, which saves first: a signal may go to all of its processes."""
    for number in STOPS:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def _signals_held() -> Iterator[None]:
    """Run a block in which no stop arrives; processes that it starts keep it so, from the first."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
