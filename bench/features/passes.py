"""The upstream pass: sounds in, hidden states out.

On a CPU utterances pass alone, each on one thread, and as many side by side as there are cores: no
padding, and the result depends neither on other utterances nor on the number of cores. On CUDA they
pass in buckets of similar length; by the upstream's contract (features do not depend on the batch)
the result is the same to rounding.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from bench.api import SAMPLE_RATE_HZ, Upstream, Utterance
from bench.engine import Engine, one_thread
from bench.errors import InvalidDataError, MissingError, UsageError, is_out_of_memory
from bench.features.allocation import keep_freed_memory
from bench.features.rows import DTYPES, Array, Mode, ahead
from bench.features.workers import MEMORY_SHARE, in_order, workers_that_fit
from bench.progress import say
from bench.sound.audio import Wav, read_wav
from bench.sound.sox import whole_sound

MAX_PADDING = 0.05  # of the samples of a bucket
MAX_SECONDS = 1_800  # of an utterance: the memory of attention grows with the square of its length
# Memory of one utterance's pass: two activations of 512 channels at the front end's first rate.
BYTES_PER_SAMPLE = 1_024
# The same on a GPU, where group norm over a padded batch takes two masked copies, with the states.
GPU_BYTES_PER_SAMPLE = 4_096
Sound = Callable[[Utterance], Wav]
Form = TypeVar("Form")


def place(upstream: Upstream, engine: Engine) -> Any:
    """Move an upstream to the engine's device, and compile it where the engine says so."""
    if engine.on_gpu:
        set_cuda(tf32=engine.precision == "tf32")
    else:
        keep_freed_memory()
    upstream.to(engine.device)
    if not engine.suffix:  # the reference, for which weights have a special layout
        upstream.lay_out()
    return torch.compile(upstream, dynamic=True) if engine.compile else upstream


def set_cuda(*, tf32: bool) -> None:
    """Set how CUDA computes from now on: the same convolutions every time, not the fastest."""
    torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.allow_tf32 = tf32
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False


def clean_sound(item: Utterance) -> Wav:
    """Return the samples (S,) of one utterance."""
    if item.effect:
        return whole_sound(item)[item.start : item.start + item.num_samples]
    return read_wav(item.path, start=item.start, num_samples=item.num_samples)


def buckets(utterances: Sequence[Utterance], bucket_seconds: float) -> list[list[Utterance]]:
    """Sort utterances by length; cut at a full bucket or at more padding than `MAX_PADDING`."""
    if not bucket_seconds:
        return [[item] for item in utterances]
    cut: list[list[Utterance]] = []
    total, longest = 0, 0
    for item in sorted(utterances, key=lambda item: (-item.num_samples, item.key)):
        padded = longest * (len(cut[-1]) + 1) if cut else 0
        wasted = padded - total - item.num_samples
        full = padded > bucket_seconds * SAMPLE_RATE_HZ
        if not cut or full or wasted > MAX_PADDING * padded:
            cut.append([])
            total, longest = 0, item.num_samples
        cut[-1].append(item)
        total += item.num_samples
    return cut


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
        engine: device, precision, cores and buckets.
        form: makes the form of hidden states (T, L, D) float32 on the CPU; called in the thread
            that computes an utterance, so that only forms wait in memory.
        sound: returns the samples (S,) of an utterance, clean or distorted; called in several
            threads at once.

    Raises:
        InvalidDataError: an utterance too short for one frame or longer than `MAX_SECONDS`, or an
            unreadable file.
        MissingError: one utterance alone does not fit into memory.
    """
    for item in utterances:
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
    with one_thread():  # the layout of weights, too
        module = place(upstream, engine)
    if engine.on_gpu or engine.bucket_seconds:
        # The device computes a bucket while the one before is stored.
        for together in ahead(_in_buckets(module, utterances, engine, sound)):
            for item, states in together:
                yield item, form(states, item)
        return
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


def bucket_seconds(engine: Engine) -> float:
    """Return the audio of a bucket: the engine's, or what fits into half of a GPU's memory.

    The whole memory counts, not what is free now: the same buckets every time give the same bits.
    """
    if engine.bucket_seconds or not engine.on_gpu:
        return engine.bucket_seconds
    total: int = torch.cuda.get_device_properties(torch.device(engine.device)).total_memory
    return MEMORY_SHARE * total / (GPU_BYTES_PER_SAMPLE * SAMPLE_RATE_HZ)


def _in_buckets(
    module: Any, utterances: Sequence[Utterance], engine: Engine, sound: Sound
) -> Iterator[list[tuple[Utterance, Tensor]]]:
    """Yield hidden states (T, L, D) of utterances that were computed together."""
    cut = buckets(utterances, bucket_seconds(engine))
    readers = max(2, engine.num_workers)  # the device computes meanwhile
    wavs = in_order(sound, [item for bucket in cut for item in bucket], readers)
    largest = len(utterances)  # utterances that fit on the device together
    for bucket in cut:
        sounds = [next(wavs) for _ in bucket]
        at = 0
        while at < len(bucket):
            part = sounds[at : at + largest]
            try:
                states = forward_bucket(module, part, engine)
            except Exception as error:  # each library has its own class
                if not is_out_of_memory(error):
                    raise
                largest = _half(len(part), bucket[at], engine, error)
                continue
            yield list(zip(bucket[at : at + len(part)], states, strict=True))
            at += len(part)


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
    with engine.autocast():
        states, frames = module(
            padded.to(engine.device, non_blocking=True), lengths.to(engine.device)
        )
    stacked = torch.stack(states, dim=2).float()  # (B, T, L, D)
    host = stacked.to("cpu", non_blocking=engine.on_gpu)  # into pinned memory
    counts = frames.tolist()  # waits for the device, and so for the copy
    return [row[:count] for row, count in zip(host, counts, strict=True)]


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

    On a CPU, the time of one utterance alone is divided by the number of workers.
    """
    wav = 0.1 * np.random.default_rng(0).standard_normal(int(seconds * SAMPLE_RATE_HZ))
    engine, best = engine or Engine(), float("inf")
    with one_thread():
        module = place(upstream, engine)
        for _ in range(3):  # the first warms up
            begin = time.perf_counter()
            forward_bucket(module, [wav.astype(np.float32)], engine)
            best = min(best, time.perf_counter() - begin)
    return best / seconds / (1 if engine.on_gpu else engine.num_workers)
