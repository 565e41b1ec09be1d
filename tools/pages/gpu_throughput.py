"""Seconds of sound a second that upstreams pass on a GPU, and on all GPUs together."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from tabulate import tabulate

from bench.api import Upstream, Utterance
from bench.config import Precision
from bench.engine import Engine
from bench.features.passes import forward_bucket, upstream_pass
from bench.features.placement import place
from bench.load.loader import load_upstream
from bench.measure.macs import count
from bench.measure.timing import noise

MEASURE_SECONDS = 3.0  # of one rate
UTTERANCE_SECONDS, UTTERANCES = 10.0, 32  # of a bucket
BUCKETS_PER_DEVICE = 6
PRODUCT_SIZE = 8_192
UPSTREAMS = ("hubert_base+untrained", "lighthubert_small+untrained", "house_whisper_distil")
PRECISIONS: tuple[Precision, ...] = ("float32", "tf32", "bf16")
SMALL_UPSTREAMS, SMALL_UTTERANCES, SMALL_PRODUCT_SIZE = ("house_whisper_distil",), 2, 512


class TwoCopies(Engine):
    """A CPU as two devices: a rehearsal takes the way of several GPUs."""

    @property
    def devices(self) -> tuple[str, ...]:
        """The CPU, twice."""
        return (self.device, self.device)


@dataclass(frozen=True)
class DeviceThroughput:
    """The measurement of one machine.

    Attributes:
        engine: device, in float32.
        rehearse: do as little as runs all the code.
    """

    engine: Engine
    rehearse: bool = False

    @property
    def utterances(self) -> int:
        """The utterances of a bucket."""
        return SMALL_UTTERANCES if self.rehearse else UTTERANCES

    def text(self) -> str:
        """Return a table by upstream and precision, and the rates of one and of all devices."""
        names = SMALL_UPSTREAMS if self.rehearse else UPSTREAMS
        rows = [row for name in names for row in self._rows(name)]
        head = ["upstream", "precision", "s of sound a s", "share of products", "peak GiB", "error"]
        table = tabulate(rows, headers=head, tablefmt="github", disable_numparse=True)
        return f"""{table}

{self.utterances} utterances of {UTTERANCE_SECONDS:.0f} s of noise together on one device; copies
to and from it are in the time. *Share of products*: the operations of the upstream a second,
relative to those of a square matrix product on this device in the same precision. *Peak GiB*: the
largest memory of the device that was used. *Error*: the largest difference from the hidden states
of one utterance in float32 on the CPU, relative to the largest of these.

{self._all_together(names[0])}"""

    def _rows(self, name: str) -> list[list[str]]:
        """Return the rows of one upstream, one a precision."""
        upstream, rows = load_upstream(name).upstream, []
        wavs, lengths = noise(UTTERANCE_SECONDS)
        with torch.inference_mode():
            reference = torch.stack(upstream(wavs, lengths).states)
        operations = 2.0 * count(upstream, wavs.shape[1]).plain / UTTERANCE_SECONDS
        for precision in PRECISIONS:
            if precision == "tf32" and not self.engine.on_gpu:
                continue
            engine = replace(self.engine, precision=precision)
            rate, gib, states = self._pass_rate(upstream, engine)
            error = float((states.transpose(0, 1) - reference[:, 0]).abs().max())
            share = rate * operations / self._product_rate(precision)
            error /= float(reference.abs().max())
            shown = [f"{rate:,.1f}", f"{100 * share:.0f} %", f"{gib:.1f}", f"{error:.1e}"]
            rows.append([name, precision, *shown])
        upstream.to("cpu")
        return rows

    def _pass_rate(self, upstream: Upstream, engine: Engine) -> tuple[float, float, torch.Tensor]:
        """Return seconds of sound a second, GiB at most, and the states (T, L, D) of one."""
        module = place(upstream, engine)
        bucket = [noise(UTTERANCE_SECONDS)[0][0].numpy()] * self.utterances
        states = forward_bucket(module, bucket, engine)[0]
        if engine.on_gpu:
            torch.cuda.reset_peak_memory_stats(engine.device)
        seconds = self._seconds_each(lambda: forward_bucket(module, bucket, engine))
        peak = torch.cuda.max_memory_allocated(engine.device) if engine.on_gpu else 0
        return len(bucket) * UTTERANCE_SECONDS / seconds, peak / 2**30, states

    def _product_rate(self, precision: Precision) -> float:
        """Return operations a second of a square matrix product; `place` has set TF32."""
        size = SMALL_PRODUCT_SIZE if self.rehearse else PRODUCT_SIZE
        kind = torch.bfloat16 if precision == "bf16" else torch.float32
        left = torch.randn(size, size, device=self.engine.device).to(kind)

        def product() -> None:
            (left @ left)[0, 0].item()  # waits for the device

        product()
        return 2.0 * size**3 / self._seconds_each(product)

    def _seconds_each(self, function: Callable[[], object]) -> float:
        """Return the mean seconds of a call that ends when the device is done."""
        budget, calls, start = 0.0 if self.rehearse else MEASURE_SECONDS, 0, time.perf_counter()
        while not calls or time.perf_counter() - start < budget:
            function()
            calls += 1
        return (time.perf_counter() - start) / calls

    def _all_together(self, name: str) -> str:
        """Return the rates of one and of all devices, with buckets as the store passes them."""
        seconds = self.utterances * UTTERANCE_SECONDS
        every = replace(self.engine, bucket_seconds=seconds)
        if self.rehearse and not every.on_gpu:
            every = TwoCopies(every.device, bucket_seconds=seconds)
        devices, upstream = every.devices, load_upstream(name).upstream
        alone = Engine(devices[0], bucket_seconds=seconds)
        rates = []
        for engine in (alone, every):
            buckets = (1 if self.rehearse else BUCKETS_PER_DEVICE) * len(engine.devices)
            self._pass(upstream, engine, len(engine.devices))  # places copies and warms up
            start = time.perf_counter()
            self._pass(upstream, engine, buckets)
            rates.append(buckets * seconds / (time.perf_counter() - start))
        upstream.to("cpu")
        one, all_of_them = rates
        return (
            f"All devices together ({', '.join(devices)}), `{name}` in float32, means stored:\n"
            f"{all_of_them:,.1f} s of sound a second, {all_of_them / one:.2f} times that of "
            f"{devices[0]} alone ({one:,.1f})."
        )

    def _pass(self, upstream: Upstream, engine: Engine, buckets: int) -> None:
        """Pass some buckets of noise and take the mean of their hidden states."""
        wav = noise(UTTERANCE_SECONDS)[0][0].numpy()
        items = [
            Utterance(f"{number}", Path(), 0, wav.size, None, "", "", f"{number}")
            for number in range(buckets * self.utterances)
        ]
        for _ in upstream_pass(upstream, items, engine, lambda x, _: x.mean(dim=0), lambda _: wav):
            pass
