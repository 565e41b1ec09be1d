"""The number of frames of a model by the number of samples: a rule that is measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench.api import SAMPLE_RATE_HZ
from bench.errors import InvalidDataError

PROBES = (8_000, 16_000, 48_000)  # samples tried in turn until the model gives frames
STEPS = 4  # frames over which the stride is measured
LONGEST_STRIDE = SAMPLE_RATE_HZ  # one frame a second
CHECKED = (9_017, 16_000, 24_321)  # samples at which the measured rule is checked


@dataclass(frozen=True)
class FrameRule:
    """The number of frames of a model: floor((S - first) / stride) + 1, from `min_samples` on.

    Attributes:
        stride: samples per frame.
        first: samples of the first frame by this formula; 0 or less if the model pads its input.
        min_samples: the shortest input that gives a frame.
        together: frames that are added at once, in a model that reduces time and expands it again.
    """

    stride: int
    first: int
    min_samples: int
    together: int = 1

    def num_frames(self, num_samples: int) -> int:
        """Return T for an utterance of S samples."""
        if num_samples < self.min_samples:
            return 0
        times = (num_samples - self.first) // (self.stride * self.together) + 1
        return times * self.together


def measure_rule(frames: Callable[[int], int], model: str) -> FrameRule:
    """Measure the frame rule of a model.

    Args:
        frames: returns T for S samples, 0 if the model gives no frame or fails.
        model: the model, for messages.

    Raises:
        InvalidDataError: the model gives no frames, or their number does not follow such a rule.
    """
    probe = next((size for size in PROBES if frames(size) > 0), None)
    if probe is None:
        raise InvalidDataError(f"{model}: gives no frames, or NaN, for {PROBES[-1]} samples")
    count = frames(probe)
    one = _fewest(frames, probe, count + 1, model)
    together = frames(one) - count
    more = _fewest(frames, one, count + 1 + STEPS * together, model)
    if (more - one) % (STEPS * together) or count % together:
        raise InvalidDataError(f"{model}: its number of frames does not grow evenly with length")
    stride = (more - one) // (STEPS * together)
    first = one - count * stride
    rule = FrameRule(stride, first, _shortest(frames, max(first, 1)), together)
    for size in CHECKED:
        if frames(size) != rule.num_frames(size):
            raise InvalidDataError(
                f"{model}: {size} samples give {frames(size)} frames; the rule measured (stride "
                f"{stride}, first frame {first} samples) says {rule.num_frames(size)}"
            )
    return rule


def _fewest(frames: Callable[[int], int], low: int, count: int, model: str) -> int:
    """Return the fewest samples that give `count` frames; `low` samples give fewer."""
    start, high = low, low + 640
    while frames(high) < count:
        low, high = high, high + 2 * (high - start)
        if high - start > LONGEST_STRIDE * (STEPS + 1):
            raise InvalidDataError(
                f"{model}: {high} samples give {frames(high)} frames; more than one a second "
                f"expected"
            )
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if frames(middle) >= count else (middle, high)
    return high


def _shortest(frames: Callable[[int], int], start: int) -> int:
    """Return the fewest samples, at least `start`, that give a frame; `PROBES[-1]` samples do."""
    if frames(start) >= 1:
        return start
    low, high = start, start * 2
    while frames(high) < 1:
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if frames(middle) >= 1 else (middle, high)
    return high
