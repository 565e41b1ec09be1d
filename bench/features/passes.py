"""The upstream pass: sounds in, hidden states out.

On a CPU utterances pass alone, each on one thread, and as many side by side as there are cores: no
padding, and the result depends neither on other utterances nor on the number of cores. On CUDA they
pass in buckets of similar length; by the upstream's contract (features do not depend on the batch)
the result is the same to rounding. Each bucket goes to a GPU that is free; the buckets are the same
whatever the number of GPUs, and so are the features.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, nullcontext
from queue import SimpleQueue
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from bench.api import SAMPLE_RATE_HZ, Upstream, Utterance
from bench.engine import Engine, one_thread
from bench.errors import InvalidDataError, MissingError, UsageError, is_out_of_memory
from bench.features.placement import (
    Placed,
    bucket_seconds,
    buckets,
    in_few_sizes,
    place,
    place_on_all,
)
from bench.features.rows import DTYPES, Array, Mode
from bench.features.workers import in_order, workers_that_fit
from bench.progress import say
from bench.sound.audio import Wav, read_wav
from bench.sound.sox import whole_sound

MAX_SECONDS = 1_800  # of an utterance: the memory of attention grows with the square of its length
# Memory of one utterance's pass: two activations of 512 channels at the front end's first rate.
BYTES_PER_SAMPLE = 1_024
# A device computes a bucket while another thread stores the one before; as many wait on each side.
THREADS_PER_DEVICE, BUCKETS_PER_THREAD = 2, 2
Sound = Callable[[Utterance], Wav]
Form = TypeVar("Form")


def clean_sound(item: Utterance) -> Wav:
    """Return the samples (S,) of one utterance."""
    if item.effect:
        return whole_sound(item)[item.start : item.start + item.num_samples]
    return read_wav(item.path, start=item.start, num_samples=item.num_samples)


def upstream_pass(
    upstream: Upstream,
    utterances: Sequence[Utterance],
    engine: Engine,
    form: Callable[[Tensor, Utterance], Form],
    sound: Sound = clean_sound,
) -> Iterator[tuple[Utterance, Form]]:
    """Yield the hidden states of each utterance in the form that the caller needs.

    Args:
        upstream: frozen.
        utterances: to pass; with buckets, the result has the order of buckets.
        engine: devices, precision, cores and buckets.
        form: makes the form of hidden states (T, L, D) float32 on the CPU; called in the thread
            that computes an utterance, so that only forms wait in memory.
        sound: returns the samples (S,) of an utterance, clean or distorted; called in several
            threads at once.

    Raises:
        InvalidDataError: an utterance too short for one frame or longer than `MAX_SECONDS`, or an
            unreadable file.
        MissingError: one utterance alone does not fit into memory.
    """
    return passes_of_parts(upstream, [utterances], engine, form, sound)


def passes_of_parts(
    upstream: Upstream,
    parts: Sequence[Sequence[Utterance]],
    engine: Engine,
    form: Callable[[Tensor, Utterance], Form],
    sound: Sound = clean_sound,
) -> Generator[tuple[Utterance, Form], None, None]:
    """Yield what `upstream_pass` yields for each part, part after part.

    No bucket has utterances of two parts; GPUs begin with the next part before the last one ends.
    """
    for item in (item for part in parts for item in part):
        _check_length(upstream, item)
    with one_thread():  # the layout of weights, too
        placed = place_on_all(upstream, engine)
    if engine.on_gpu or engine.bucket_seconds:
        seconds = bucket_seconds(engine)
        cut = [bucket for part in parts for bucket in buckets(part, seconds)]
        cut = list(in_few_sizes(cut)) if engine.compile else cut
        yield from _in_buckets(placed, cut, engine, form, sound)
        return
    for part in parts:
        yield from _alone(placed[0].module, upstream, part, engine, form, sound)


def _check_length(upstream: Upstream, item: Utterance) -> None:
    """Check that an utterance gives a frame and is not too long.

    Raises:
        InvalidDataError: it is too short or too long.
    """
    if item.num_samples > MAX_SECONDS * SAMPLE_RATE_HZ:
        raise InvalidDataError(
            f"{item.path}: utterance {item.id} has {item.num_samples / SAMPLE_RATE_HZ:.0f} s, "
            f"at most {MAX_SECONDS} expected: cut the file"
        )
    if item.num_samples < upstream.min_samples:
        raise InvalidDataError(
            f"{item.path}: utterance {item.id} has {item.num_samples} samples, "
            f"the upstream needs at least {upstream.min_samples}"
        )


def _alone(
    module: Any,
    upstream: Upstream,
    utterances: Sequence[Utterance],
    engine: Engine,
    form: Callable[[Tensor, Utterance], Form],
    sound: Sound,
) -> Iterator[tuple[Utterance, Form]]:
    """Pass utterances one by one, several side by side in threads of a CPU."""
    takes_turns = engine.compile or not upstream.is_reentrant
    turn = threading.Lock() if takes_turns else nullcontext()

    def passed(item: Utterance) -> Form:
        wav = sound(item)
        with turn:
            (states,) = forward_bucket(module, [wav], engine)
        return form(states, item)

    workers = _workers_that_fit(upstream, utterances, engine)
    rest = list(utterances)
    while rest:
        try:
            for result in in_order(passed, tuple(rest), workers):
                yield rest.pop(0), result
        except Exception as error:  # each library has its own class
            if not is_out_of_memory(error):
                raise
            workers = _half(workers, rest[0], engine, error)


def _workers_that_fit(upstream: Upstream, utterances: Sequence[Utterance], engine: Engine) -> int:
    """Return the number of workers: fewer than cores where memory is short for long utterances."""
    longest = max((item.num_samples for item in utterances), default=0)
    states = upstream.num_frames(longest) * upstream.num_layers * upstream.hidden_size * 4
    need = longest * BYTES_PER_SAMPLE + 2 * states
    return workers_that_fit(engine.num_workers, need)


def _in_buckets(
    placed: Sequence[Placed],
    cut: Sequence[Sequence[Utterance]],
    engine: Engine,
    form: Callable[[Tensor, Utterance], Form],
    sound: Sound,
) -> Iterator[tuple[Utterance, Form]]:
    """Pass buckets, each on a device that is free, in the order of the buckets."""
    free: SimpleQueue[Placed] = SimpleQueue()
    for one in placed:
        free.put(one)

    def passed(bucket: Sequence[Utterance], sounds: Sequence[Wav]) -> list[tuple[Utterance, Form]]:
        one = free.get()
        try:
            states = _states_of_bucket(one, bucket, sounds)
        finally:
            free.put(one)
        return [(item, form(rows, item)) for item, rows in zip(bucket, states, strict=True)]

    readers = max(2, engine.num_workers)  # the devices compute meanwhile
    threads = THREADS_PER_DEVICE * len(placed)
    with closing(in_order(sound, (item for bucket in cut for item in bucket), readers)) as wavs:
        heard = ((bucket, [next(wavs) for _ in bucket]) for bucket in cut)
        for results in in_order(lambda both: passed(*both), heard, threads, BUCKETS_PER_THREAD):
            yield from results


def _states_of_bucket(
    one: Placed, bucket: Sequence[Utterance], sounds: Sequence[Wav]
) -> list[Tensor]:
    """Return the hidden states (T, L, D) of a bucket, in halves where a device lacks memory."""
    states: list[Tensor] = []
    while (at := len(states)) < len(bucket):
        part = sounds[at : at + one.largest]
        try:
            states += forward_bucket(one.module, part, one.engine)
        except Exception as error:  # each library has its own class
            if not is_out_of_memory(error):
                raise
            one.largest = _half(len(part), bucket[at], one.engine, error)
    return states


def _half(count: int, item: Utterance, engine: Engine, error: Exception) -> int:
    """Return half of a number of utterances that did not fit on the device together.

    Features do not depend on the batch, so the result is the same to rounding.

    Raises:
        MissingError: one utterance alone does not fit.
    """
    if engine.on_gpu:
        torch.cuda.empty_cache()
    if count == 1:
        raise MissingError(
            f"{item.path}: utterance {item.id} ({item.num_samples / SAMPLE_RATE_HZ:.1f} s) alone "
            f"does not fit into the memory of {engine.device}: cut the file, or use a machine with "
            f"more memory"
        ) from error
    say(f"out of memory on {engine.device} with {count} utterances: going on with {count // 2}")
    return count // 2


@torch.inference_mode()
def forward_bucket(module: Any, wavs: Sequence[Wav], engine: Engine) -> list[Tensor]:
    """Return the hidden states (T, L, D) of each sound of a bucket."""
    lengths = torch.tensor([wav.size for wav in wavs])
    padded = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(w) for w in wavs], batch_first=True)
    if engine.on_gpu:
        padded = padded.pin_memory()
    with engine.on_device(), engine.autocast():
        states, frames = module(
            padded.to(engine.device, non_blocking=True), lengths.to(engine.device)
        )
    stacked = torch.stack(states, dim=2).float()  # (B, T, L, D)
    host = stacked.to("cpu", non_blocking=engine.on_gpu)  # into pinned memory
    if engine.on_gpu:
        torch.cuda.synchronize(engine.device)
    return [row[:count] for row, count in zip(host, frames.tolist(), strict=True)]


def num_states(upstream: Upstream, mode: Mode) -> int:
    """Return the number of states in a mode: `frames` leaves out the pooled ones.

    Raises:
        UsageError: none is left.
    """
    count = upstream.num_layers - (upstream.num_pooled if mode == "frames" else 0)
    if not count:
        raise UsageError(
            "this upstream or tap gives only a pooled state, one vector an utterance: this task "
            "needs frames; choose another tap"
        )
    return count


def stored_form(states: Tensor, mode: Mode, item: Utterance) -> Array:
    """Return hidden states (T, L, D) as a mode stores them: their mean, or all in half precision.

    Frames beyond the range of half precision (65,504) stay in single precision.

    Raises:
        InvalidDataError: not finite.
    """
    if mode == "pooled":
        states = states.mean(dim=0, keepdim=True)
    exact: Array = states.numpy()
    with np.errstate(over="ignore"):
        array: Array = exact.astype(DTYPES[mode])
    if np.isfinite(array).all():
        return array
    if not np.isfinite(exact).all():
        raise InvalidDataError(f"{item.path}: features of utterance {item.id} are not finite")
    return exact.copy()


def seconds_per_audio_second(
    upstream: Upstream, engine: Engine | None = None, *, seconds: float = 3.0
) -> float:
    """Measure the seconds that the upstream takes per second of audio (best of two).

    The time of one utterance alone is divided by the number of GPUs or, on a CPU, of workers.
    """
    wav = 0.1 * np.random.default_rng(0).standard_normal(int(seconds * SAMPLE_RATE_HZ))
    engine, best = engine or Engine(), float("inf")
    with one_thread():
        module = place(upstream, engine)
        for _ in range(3):  # the first warms up
            begin = time.perf_counter()
            forward_bucket(module, [wav.astype(np.float32)], engine)
            best = min(best, time.perf_counter() - begin)
    return best / seconds / (len(engine.devices) if engine.on_gpu else engine.num_workers)
