"""Check that an upstream keeps the contract of `bench.api`, before it is benchmarked.

Each check is a function from a subject to one line of detail. A check that raises has failed, with
the error as its detail, so that one failure does not hide the others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from bench.api import SAMPLE_RATE_HZ, Hidden, Upstream
from bench.config import UpstreamCard
from bench.measure.claims import CLAIM_RULES, beside_claim, claim_problem
from bench.measure.cost import COST_SECONDS, measure, standard_macs
from bench.terminal.table import StyledCell, TableColumn, TerminalTable
from bench.terminal.units import giga

PADDING_TOLERANCE = 1e-4  # largest difference, relative to the largest value of the state
LENGTHS = (16_000, 9_017, 24_321, 7_683)  # samples; odd ones, so that rounding shows


@dataclass(frozen=True)
class CheckResult:
    """The result of one check.

    Attributes:
        name: of the check.
        ok: True when the upstream passes.
        detail: measured value, and the expected one where they differ.
        hint: what to do; empty when `ok`.
    """

    name: str
    ok: bool
    detail: str
    hint: str = ""


class _BrokenError(Exception):
    """A check that failed."""


@dataclass
class _Subject:
    """The upstream that is checked, with outputs that several checks use."""

    upstream: Upstream
    card: UpstreamCard | None
    outputs: dict[int, Hidden] = field(default_factory=dict)

    def of_length(self, num_samples: int) -> Hidden:
        """Return the states of one utterance of noise; the same for every call with one length."""
        if num_samples not in self.outputs:
            self.outputs[num_samples] = self.run(noise(num_samples)[None])
        return self.outputs[num_samples]

    def run(self, wavs: Tensor, lengths: list[int] | None = None) -> Hidden:
        """Run waveforms (B, S)."""
        sizes = lengths if lengths is not None else [wavs.shape[1]] * len(wavs)
        with torch.no_grad():
            return self.upstream(wavs, torch.tensor(sizes))  # type: ignore[no-any-return]


def noise(num_samples: int, level: float = 0.1) -> Tensor:
    """Return white noise (S,), the same for every call with one length."""
    generator = torch.Generator().manual_seed(num_samples)
    return level * torch.randn(num_samples, generator=generator)


def _require(ok: bool, detail: str) -> None:
    if not ok:
        raise _BrokenError(detail)


def _shapes(subject: _Subject) -> str:
    """States are L tensors (B, T, D), float32; lengths are int64 (B,), the largest is T."""
    wavs = torch.stack([noise(LENGTHS[0])] * 2)
    hidden = subject.run(wavs, [LENGTHS[0], LENGTHS[1]])
    _require(isinstance(hidden, Hidden), f"expected Hidden, found {type(hidden).__name__}")
    shapes = {tuple(state.shape) for state in hidden.states}
    _require(len(shapes) == 1, f"expected states of one shape, found {sorted(shapes)}")
    shape = shapes.pop()
    _require(len(shape) == 3 and shape[0] == 2, f"expected (2, T, D), found {shape}")
    kinds = {state.dtype for state in hidden.states}
    _require(kinds == {torch.float32}, f"expected float32 states, found {kinds}")
    lengths = hidden.lengths
    _require(
        lengths.dtype == torch.int64 and tuple(lengths.shape) == (2,),
        f"expected int64 lengths (2,), found {lengths.dtype} {tuple(lengths.shape)}",
    )
    longest = int(lengths.max())
    _require(longest == shape[1], f"expected T = {longest}, the largest length, found {shape[1]}")
    return f"{len(hidden.states)} states of {shape}"


def _declared(subject: _Subject) -> str:
    """num_layers, hidden_size and stride are those of the output."""
    upstream, hidden = subject.upstream, subject.of_length(LENGTHS[0])
    num_states, size = len(hidden.states), hidden.states[0].shape[-1]
    _require(
        upstream.num_layers == num_states,
        f"declared num_layers {upstream.num_layers}, found {num_states} states",
    )
    _require(
        upstream.hidden_size == size,
        f"declared hidden_size {upstream.hidden_size}, found {size}",
    )
    more = 100  # frames; what they add does not depend on where the first window lies
    longer = subject.of_length(LENGTHS[0] + more * upstream.stride)
    num_frames = int(longer.lengths[0]) - int(hidden.lengths[0])
    _require(
        num_frames == more,
        f"declared stride {upstream.stride}: {more * upstream.stride} more samples should give "
        f"{more} more frames, found {num_frames}",
    )
    return f"L {num_states}, D {size}, stride {upstream.stride} samples"


def _frame_rule(subject: _Subject) -> str:
    """num_frames(S) is the number of frames, at every length."""
    smallest = subject.upstream.min_samples
    lengths = [*LENGTHS, smallest, smallest + 1, smallest + subject.upstream.stride]
    for num_samples in lengths:
        hidden = subject.of_length(num_samples)
        length, declared = int(hidden.lengths[0]), subject.upstream.num_frames(num_samples)
        size = hidden.states[0].shape[1]
        _require(
            length == declared == size,
            f"{num_samples} samples: num_frames gives {declared}, lengths {length}, T is {size}",
        )
    return f"holds at {len(lengths)} lengths from {min(lengths)} to {max(lengths)} samples"


def _padding(subject: _Subject) -> str:
    """An utterance in a padded batch equals itself alone, on its valid frames."""
    wavs = torch.zeros(len(LENGTHS), max(LENGTHS))
    for row, num_samples in zip(wavs, LENGTHS, strict=True):
        row[:num_samples] = noise(num_samples)
    together = subject.run(wavs, list(LENGTHS))
    worst = 0.0
    for index, num_samples in enumerate(LENGTHS):
        alone = subject.of_length(num_samples)
        frames = int(alone.lengths[0])
        _require(
            int(together.lengths[index]) == frames,
            f"{num_samples} samples: {frames} frames alone, {together.lengths[index]} in a batch",
        )
        for state, single in zip(together.states, alone.states, strict=True):
            difference = (state[index, :frames] - single[0, :frames]).abs().max()
            relative = float(difference / single.abs().max().clamp(min=1.0))
            _require(math.isfinite(relative), f"{num_samples} samples: states are not finite")
            worst = max(worst, relative)
    _require(worst <= PADDING_TOLERANCE, f"differs by {worst:.2e}, at most {PADDING_TOLERANCE:g}")
    return f"largest difference {worst:.1e}"


def _deterministic(subject: _Subject) -> str:
    """Two calls agree to the last bit, also after train()."""
    first = subject.of_length(LENGTHS[0])
    subject.upstream.train()
    second = subject.run(noise(LENGTHS[0])[None])
    for index, (a, b) in enumerate(zip(first.states, second.states, strict=True)):
        _require(torch.equal(a, b), f"two calls on one input differ in state {index}")
    training = [name for name, part in subject.upstream.named_modules() if part.training]
    _require(not training, f"{len(training)} modules are in training mode, first {training[:1]}")
    return "two calls agree to the last bit"


def _frozen(subject: _Subject) -> str:
    """No parameter requires a gradient."""
    parameters = dict(subject.upstream.named_parameters())
    trainable = [name for name, parameter in parameters.items() if parameter.requires_grad]
    problem = f"{len(trainable)} parameters require a gradient, first {trainable[:1]}"
    _require(not trainable, problem)
    return f"{len(parameters)} parameters, none requires a gradient"


def _finite(subject: _Subject) -> str:
    """Silence, noise and clipped sound give finite states."""
    num_samples = max(LENGTHS[0], subject.upstream.min_samples)
    inputs = {
        "silence": torch.zeros(num_samples),
        "noise": noise(num_samples),
        "loud noise": noise(num_samples, level=1.0).clamp(-1.0, 1.0),
    }
    for name, wav in inputs.items():
        for index, state in enumerate(subject.run(wav[None]).states):
            finite = bool(torch.isfinite(state).all())
            _require(finite, f"{name}: state {index} holds values that are not finite")
    return ", ".join(inputs)


def _shortest(subject: _Subject) -> str:
    """An input of min_samples gives a frame, one sample less gives none."""
    upstream = subject.upstream
    smallest = upstream.min_samples
    _require(smallest >= 1, f"min_samples is {smallest}, at least 1 expected")
    frames = int(subject.of_length(smallest).lengths[0])
    _require(frames >= 1, f"min_samples {smallest} gives {frames} frames, at least 1 expected")
    below = upstream.num_frames(smallest - 1)
    _require(below == 0, f"{smallest - 1} samples, below min_samples, give {below} frames")
    return f"{smallest} samples ({1000 * smallest / SAMPLE_RATE_HZ:g} ms)"


def _claim(subject: _Subject, key: str, measured: float) -> str:
    """Compare a measured figure with the card's claim, as the tests of the project's cards do."""
    card, upstream = subject.card, subject.upstream
    form = CLAIM_RULES[key].format_spec
    if card is None or key not in card.reported:
        return f"{measured:{form}} (the card reports none)"
    if getattr(upstream, "variant", None) is not None or upstream.tap != card.tap:
        reported = f"{card.reported[key]:{form}}"
        return f"{measured:{form}} (the card reports {reported} of its default, not of a variant)"
    line = beside_claim(card, key, measured)
    problem = claim_problem(card, key, measured)
    _require(not problem, f"{line}: {problem}")
    return line


def _params(subject: _Subject) -> str:
    """The parameter count is what the authors report, or the card explains the difference."""
    line = _claim(subject, "params", measure(subject.upstream, seconds=1.0).params)
    left_out = ", ".join(subject.upstream.left_out)
    return f"{line}; left out of the file: {left_out}" if left_out else line


def _macs(subject: _Subject) -> str:
    """MACs of the 32 standard utterances are what the authors report, or the card explains."""
    card = subject.card
    if card is None or "macs_superb" not in card.reported:
        cost = measure(subject.upstream)
        rate = f"{giga(cost.macs_per_second)} G a second ({COST_SECONDS:g} s, rule plain)"
        without = f", without {', '.join(cost.uncounted)}" if cost.uncounted else ""
        return f"{rate}{without} (the card reports none)"
    totals = {item.rule: item.total for item in standard_macs(subject.upstream)}
    line = _claim(subject, "macs_superb", totals[card.macs_rule])
    return f"32 utterances, rule {card.macs_rule}: {line}"


CHECKS: Mapping[str, tuple[Callable[[_Subject], str], str]] = {
    "shapes": (_shapes, "return Hidden(states, lengths): L float32 tensors (B, T, D), int64 (B,)"),
    "declared": (_declared, "set num_layers (counting states[0]), hidden_size and stride"),
    "frame rule": (_frame_rule, "num_frames must be the arithmetic of the convolutions"),
    "padding": (
        _padding,
        "mask padding in attention; norm statistics over valid samples only",
    ),
    "deterministic": (_deterministic, "return self.freeze() from load; no dropout, no sampling"),
    "gradients off": (_frozen, "return self.freeze() from load"),
    "finite": (_finite, "guard logarithms and divisions; load float32 weights"),
    "min samples": (_shortest, "min_samples is the shortest input that gives one frame"),
    "parameters": (_params, "cut the subnet and drop unused parts; authors may count more"),
    "MACs": (_macs, "name the rule of the reported figure in the card, such as macs_rule: plain"),
}


def check(upstream: Upstream, card: UpstreamCard | None = None) -> list[CheckResult]:
    """Check one upstream against the contract; takes seconds for a small model.

    Args:
        upstream: as its card's `load` function gives it, frozen, on the CPU.
        card: for the figures that it reports.

    Returns:
        results in the order of `CHECKS`.
    """
    subject = _Subject(upstream, card)
    results = []
    for name, (run, hint) in CHECKS.items():
        try:
            results.append(CheckResult(name, True, run(subject)))
        except _BrokenError as broken:
            results.append(CheckResult(name, False, str(broken), hint))
        except Exception as error:
            detail = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            results.append(CheckResult(name, False, detail, hint))
    return results


def check_report(results: Sequence[CheckResult]) -> tuple[str | TerminalTable, ...]:
    """Return the results as a table, and the hints of failed checks."""
    columns = (TableColumn(""), TableColumn("check"), TableColumn("result"))
    rows = [
        ("ok" if item.ok else StyledCell("FAILED", "error"), item.name, item.detail)
        for item in results
    ]
    hints = [f"{item.name}: {item.hint}" for item in results if not item.ok]
    return TerminalTable(columns, rows), *(["\n".join(hints)] if hints else [])
