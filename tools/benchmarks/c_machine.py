"""The upstream pass against what the machine can do: the rate of its own matrix products."""

from __future__ import annotations

import statistics
from collections.abc import Callable

import torch
from tabulate import tabulate
from torch import Tensor

from bench.engine import Engine
from bench.features.placement import buckets, place
from bench.load.loader import load_upstream
from bench.measure.macs import count
from bench.registry import task_card, task_names
from bench.session import Session
from tools.benchmarks._paired import clock, spread
from tools.benchmarks._setting import Setting
from tools.markdown import markdown_table

TITLE = "The upstream pass against the machine"
SECONDS = 10
FRAMES = 499
# The products of HuBERT Base at 10 s: rows, inner width, columns, and how often.
SHAPES = (
    (FRAMES, 768, 2304, 12),
    (FRAMES, 768, 768, 12),
    (FRAMES, 768, 3072, 12),
    (FRAMES, 3072, 768, 12),
    (15_999, 1536, 512, 1),
    (7_999, 1536, 512, 1),
    (3_999, 1536, 512, 1),
    (1_999, 1536, 512, 1),
    (999, 1024, 512, 1),
    (499, 1024, 512, 1),
)
BUCKET_SECONDS = 120.0


def measure(setting: Setting) -> str:
    """Rates, a profile of where the rest goes, and the padding of every corpus."""
    upstream = load_upstream("hubert_base+untrained").upstream
    place(upstream, Engine())
    wav = 0.1 * torch.randn(1, SECONDS * 16_000, generator=torch.Generator().manual_seed(0))
    lengths = torch.tensor([wav.shape[1]])
    flops = 2.0 * count(upstream, wav.shape[1]).plain
    products = [_products(*shape) for shape in SHAPES]
    shares, rates = [], []
    with torch.inference_mode():
        upstream(wav, lengths)
        for _ in range(setting.repeats + 1):
            best = sum(min(clock(way).cpu for way in ways) * often for *_, often, ways in products)
            done = sum(2.0 * m * k * n * often for m, k, n, often, _ in products)
            gemm = done / best
            rate = flops / min(clock(lambda: upstream(wav, lengths)).cpu for _ in range(2))
            shares.append(rate / gemm)
            rates.append((rate / 1e9, gemm / 1e9))
        profile = _profile(upstream, wav, lengths)
    passed, gemm = (statistics.median(column) for column in zip(*rates, strict=True))
    share = spread([100 * value for value in shares], ".0f")
    return f"""HuBERT Base on {SECONDS} s of sound runs at **{share} %** of the float32 rate of its
own matrix products ({passed:.0f} of {gemm:.0f} GFLOP/s a CPU second, {torch.get_num_threads()}
thread(s)). The rate of a product is the fastest of torch's three ways on this machine (MKL through
`F.linear`, oneDNN through a convolution or with packed weights), timed in the same rounds.

Where the time goes (self CPU time):

{profile}

Padding when utterances are computed in buckets by length (`--device cuda`; on a CPU each is
computed alone, without padding):

{_padding(setting)}"""


def _products(
    m: int, k: int, n: int, often: int
) -> tuple[int, int, int, int, list[Callable[[], Tensor]]]:
    """Every way of one product."""
    left, right = torch.randn(m, k), torch.randn(n, k)
    rows = left.view(1, 1, m * 2, k // 2).permute(0, 3, 1, 2)
    kernel = right.view(n, 1, 2, k // 2).permute(0, 3, 1, 2)
    ways: list[Callable[[], Tensor]] = [
        lambda: torch.nn.functional.linear(left, right),
        lambda: torch.nn.functional.conv2d(rows, kernel, stride=(1, 2)),
    ]
    if hasattr(
        torch.ops.mkldnn, "_linear_pointwise"
    ):  # as `upstreams.encoder.products` packs weights
        layout = torch.ops.mkldnn._reorder_linear_weight(right, None)
        product = torch.ops.mkldnn._linear_pointwise
        ways.append(lambda: product(left, layout, None, "none", [], ""))
    for way in ways:
        way()
    return m, k, n, often, ways


def _profile(upstream: torch.nn.Module, wav: Tensor, lengths: Tensor) -> str:
    """The operations that take the most time themselves."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU]) as found:
        upstream(wav, lengths)
    averages = sorted(found.key_averages(), key=lambda item: -item.self_cpu_time_total)
    total = sum(item.self_cpu_time_total for item in averages)
    rows = [
        [f"`{item.key}`", item.count, f"{100 * item.self_cpu_time_total / total:.1f}"]
        for item in averages[:10]
    ]
    return tabulate(rows, headers=["operation", "calls", "% of the time"], tablefmt="github")


def _padding(setting: Setting) -> str:
    """Padded samples of every training table, by arithmetic."""
    from bench.run.spec import prepare_corpora, read_split

    rows = []
    for track in ("quick", "open"):
        for task in task_names(track):
            card = task_card(task, track)
            prepare_corpora(card, Session(home=setting.home))
            items, _ = read_split(card, "train", setting.home)
            cut = buckets(items, BUCKET_SECONDS)
            padded = sum(max(i.num_samples for i in bucket) * len(bucket) for bucket in cut)
            real = sum(item.num_samples for item in items)
            rows.append([track, task, len(items), len(cut), f"{100 * (1 - real / padded):.1f}"])
    head = ["track", "task", "utterances", "buckets", "padding %"]
    return markdown_table(rows, head)
