"""Average precision of word discrimination across speakers (numpy only)."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.errors import InvalidDataError
from bench.metrics.detection import Floats

Texts = NDArray[np.str_]
MAX_NUMBERS = 1_000_000  # of one template


def template(prediction: Any, who: str) -> Floats:
    """Return a predicted template, unit length, from its frames (base64 of 8-bit integers).

    Raises:
        InvalidDataError: malformed.
    """
    try:
        raw = b"".join(base64.b64decode(frame, validate=True) for frame in prediction)
    except (TypeError, ValueError, binascii.Error) as error:
        raise InvalidDataError(f"{who}: expected a list of base64 texts ({error})") from error
    if not 0 < len(raw) <= MAX_NUMBERS:
        raise InvalidDataError(f"{who}: {len(raw)} numbers, 1 to {MAX_NUMBERS:,} expected")
    values = np.frombuffer(raw, dtype=np.int8).astype(np.float64)
    length = float(np.linalg.norm(values))
    return values / length if length else values


def average_precision_parts(
    templates: Floats, words: Texts, speakers: Texts
) -> tuple[Floats, Floats]:
    """Return numerators and denominators (N,) by token, whose sums give the average precision.

    All pairs of tokens of two speakers are ranked by cosine. The average precision is the mean,
    over the pairs of one word, of the precision at the rank of the pair; pairs of equal cosine
    share the lowest of their precisions. The denominator of a token is half the number of such
    pairs that it is in.

    A speaker also changes the rank of all other pairs. So the numerators of its tokens sum to what
    the score gains by it, as the jackknife tells (Efron and Stein 1981): leaving its tokens out of
    the ratio is then as leaving it out and ranking again.

    Args:
        templates: (N, K), unit length.
        words: (N,) the word of each token.
        speakers: (N,) the speaker of each token.
    """
    # Numbers are compared many times faster than texts, and there are millions of pairs.
    names, codes = np.unique(speakers, return_inverse=True)
    word_codes = np.unique(words, return_inverse=True)[1]
    left, right = np.triu_indices(len(words), k=1)
    across = codes[left] != codes[right]
    left, right = left[across], right[across]
    cosines = (templates @ templates.T)[left, right]
    order = np.argsort(-cosines)
    left, right, cosines = left[order], right[order], cosines[order]
    is_same = word_codes[left] == word_codes[right]
    ends = np.concatenate([left[is_same], right[is_same]])
    denominators = np.bincount(ends, minlength=len(words)).astype(np.float64) / 2
    value = _average_precision(cosines, is_same)
    one_end, other_end = codes[left], codes[right]
    without = np.array(
        [
            _average_precision(cosines[rest], is_same[rest])
            for rest in ((one_end != one) & (other_end != one) for one in range(len(names)))
        ]
    )
    gains = (len(names) - 1) * (without.mean() - without) * denominators.sum() / len(names)
    tokens_of_speaker = np.bincount(codes)
    return value * denominators + (gains / tokens_of_speaker)[codes], denominators


def _average_precision(cosines: Floats, is_same: NDArray[np.bool_]) -> float:
    """Return the average precision of ranked pairs, highest cosine first; 0 without one to find."""
    if not is_same.any():
        return 0.0
    last_of_tie = np.searchsorted(-cosines, -cosines[is_same], side="right") - 1
    return float((np.cumsum(is_same)[last_of_tie] / (last_of_tie + 1)).mean())
