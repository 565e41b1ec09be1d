"""Multinomial logistic regression, chosen by cross-validation: no seed, no step, no random order.

The fit is convex, so that its result depends on the features, the labels and one constant alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from bench.engine import one_thread
from bench.errors import InvalidDataError
from bench.features.weighted_sum import Moments

Floats = NDArray[np.float64]
Texts = NDArray[np.str_]

# Inverse strengths of the L2 penalty (scikit-learn's C). Features are z-scored, so that one list
# fits every upstream and state; from 1 on the accuracy on held-out speakers hardly changes.
PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
FOLDS = 5
MAX_ITERATIONS = 5_000


class ProbeData(NamedTuple):
    """Features (N, D) of N utterances, with their labels (N,) and speakers (N,)."""

    features: Floats
    labels: Texts
    speakers: Texts


class Probed(NamedTuple):
    """The result of one probe.

    Attributes:
        penalty: the chosen C.
        held_out: (N,) label that a fit predicts for each utterance that it was not fitted to.
        tests: labels that the fit to all N utterances predicts, by test set.
    """

    penalty: float
    held_out: Texts
    tests: dict[str, Texts]


def folds_of(data: ProbeData) -> list[NDArray[np.intp]]:
    """Return the utterances of each fold: their indices, ascending.

    No speaker is in two folds. Where speakers are the classes, each fold has a part of every class,
    neighbours in the order of the data together (they are lines of one scene).

    Raises:
        InvalidDataError: fewer than two speakers, or a class with fewer than two utterances where
            speakers are the classes.
    """
    from sklearn.model_selection import GroupKFold, StratifiedKFold

    is_closed_set = np.array_equal(data.labels, data.speakers)
    speakers, sizes = np.unique(data.speakers, return_counts=True)
    count = min(FOLDS, int(sizes.min()) if is_closed_set else len(speakers))
    if count < 2:
        raise InvalidDataError(
            "cross-validation: at least 2 speakers expected (2 utterances of each where speakers "
            f"are the classes), found {count}"
        )
    splitter = (StratifiedKFold if is_closed_set else GroupKFold)(count)
    groups = None if is_closed_set else data.speakers
    split = splitter.split(data.features, data.labels, groups)
    return [held_out for _, held_out in split]


def _standardised(train: Floats, others: Sequence[Floats]) -> list[Floats]:
    """Z-score features by the moments of `train`; return `train` and the others.

    With more dimensions than utterances, all are rotated into the space that `train` spans. An L2
    penalty sees no rotation, so the fit is the same and takes less time.
    """
    mean, std = train.mean(axis=0), train.std(axis=0)
    moments = Moments(torch.from_numpy(mean[None]), torch.from_numpy(std[None]))
    scale = moments.floored_std()[0].numpy()
    scaled = [(part - mean) / scale for part in (train, *others)]
    if train.shape[1] > len(train):
        basis, _ = np.linalg.qr(scaled[0].T)
        scaled = [part @ basis for part in scaled]
    return scaled


def _predictions(train: Floats, labels: Texts, others: Sequence[Floats]) -> list[list[Texts]]:
    """Return the predicted labels for each of the others, by penalty."""
    from sklearn.linear_model import LogisticRegression

    scaled, *tests = _standardised(train, others)
    # Each fit starts at the last one's result: from the strongest penalty to the weakest.
    model = LogisticRegression(max_iter=MAX_ITERATIONS, warm_start=True)
    predictions = []
    for penalty in PENALTIES:
        model.set_params(C=penalty).fit(scaled, labels)
        predictions.append([model.predict(part) for part in tests])
    return predictions


def probe(data: ProbeData, tests: dict[str, Floats]) -> Probed:
    """Choose the penalty by cross-validation, fit all utterances, and predict test sets.

    Args:
        data: utterances for fitting and choosing.
        tests: features of test sets by name; they choose nothing.

    Raises:
        InvalidDataError: as `folds_of`; or all labels are the same.
    """
    if len(np.unique(data.labels)) < 2:
        raise InvalidDataError(f"logistic regression: one label only, {data.labels[0]!r}")
    held_out = np.empty((len(PENALTIES), len(data.labels)), dtype=data.labels.dtype)
    with one_thread():  # another number of threads sums in another order
        for fold in folds_of(data):
            fitted = np.delete(np.arange(len(data.labels)), fold)
            by_penalty = _predictions(
                data.features[fitted], data.labels[fitted], [data.features[fold]]
            )
            held_out[:, fold] = [predicted for (predicted,) in by_penalty]
        hits = (held_out == data.labels).sum(axis=1)
        best = int(hits.argmax())  # of equal ones the strongest penalty
        final = _predictions(data.features, data.labels, list(tests.values()))[best]
    return Probed(PENALTIES[best], held_out[best], dict(zip(tests, final, strict=True)))
