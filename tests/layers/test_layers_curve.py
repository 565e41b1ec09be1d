"""The layer curve: a probe without a seed, chosen on speakers that it was not fitted to."""

import json

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from bench.errors import InvalidDataError, UsageError
from bench.layers import curve, regression
from bench.layers.curve import layer_curve
from bench.layers.regression import PENALTIES, ProbeData, folds_of, probe
from bench.records.layer_curve import LayerCurve, curve_path, read_curve
from bench.run.spec import RunSpec
from bench.session import Session


def made(num=120, width=6, seed=0, noise=1.0):
    """Three classes spoken by six speakers, whose first two dimensions tell the classes apart."""
    rng = np.random.default_rng(seed)
    classes = rng.integers(0, 3, num)
    features = rng.normal(size=(num, width)) * noise
    features[:, 0] += 3.0 * (classes == 1)
    features[:, 1] += 3.0 * (classes == 2)
    speakers = rng.integers(0, 6, num).astype(str)
    return ProbeData(features, classes.astype(str), speakers)


def test_no_speaker_is_in_two_folds():
    data = made()
    folds = folds_of(data)
    assert sorted(np.concatenate(folds).tolist()) == list(range(120))
    assert all(
        set(data.speakers[fold]).isdisjoint(np.delete(data.speakers, fold)) for fold in folds
    )


def test_where_speakers_are_the_classes_each_fold_has_all_and_neighbours_stay_together():
    labels = np.repeat(["A", "B"], 10)
    folds = folds_of(ProbeData(np.zeros((20, 1)), labels, labels))
    assert len(folds) == regression.FOLDS
    assert folds[0].tolist() == [0, 1, 10, 11]


def test_the_probe_is_scikit_learns_fit_at_the_chosen_penalty():
    data, test = made(), made(seed=1)
    probed = probe(data, {"clean": test.features})
    mean, std = data.features.mean(axis=0), data.features.std(axis=0)
    model = LogisticRegression(C=probed.penalty, max_iter=1_000, tol=1e-6)
    model.fit((data.features - mean) / std, data.labels)
    expected = model.predict((test.features - mean) / std)
    assert np.array_equal(probed.tests["clean"], expected)
    assert (probed.tests["clean"] == test.labels).mean() > 0.8


def test_the_penalty_with_the_most_held_out_hits_is_chosen(monkeypatch):
    data = made(noise=2.0)
    best = probe(data, {})
    hits = []
    for penalty in PENALTIES:
        monkeypatch.setattr(regression, "PENALTIES", (penalty,))
        hits.append(int((probe(data, {}).held_out == data.labels).sum()))
    assert int((best.held_out == data.labels).sum()) >= max(hits) - 1  # warm starts end nearby
    assert abs(max(hits) - hits[PENALTIES.index(best.penalty)]) <= 1


def test_a_held_out_utterance_is_predicted_without_its_speaker():
    """The features name the speaker and nothing else: known speakers only would score."""
    speakers = np.repeat(list("ABCDEF"), 10)
    features = np.eye(6)[np.repeat(range(6), 10)]
    labels = np.where(np.isin(speakers, list("ABC")), "x", "y")
    held_out = probe(ProbeData(features, labels, speakers), {}).held_out
    assert (held_out == labels).mean() < 0.7


def test_more_dimensions_than_utterances_give_the_same_fit():
    """The rotation into the span of the utterances changes no prediction."""
    data, test = made(num=40, width=90), made(num=30, width=90, seed=1)
    rotated = probe(data, {"clean": test.features})
    padded = probe(
        ProbeData(
            np.vstack([data.features] * 3), np.tile(data.labels, 3), np.tile(data.speakers, 3)
        ),
        {"clean": test.features},
    )  # the same utterances three times, more of them than dimensions: no rotation
    model = LogisticRegression(C=rotated.penalty, max_iter=2_000, tol=1e-6)
    scaled = (data.features - data.features.mean(0)) / data.features.std(0)
    model.fit(scaled, data.labels)
    direct = model.predict((test.features - data.features.mean(0)) / data.features.std(0))
    assert (rotated.tests["clean"] == direct).mean() > 0.96
    assert (rotated.tests["clean"] == padded.tests["clean"]).mean() > 0.8


def test_a_dimension_that_hardly_varies_does_not_grow():
    """Filter banks normalised over the utterance have means of 1e-8 in every dimension."""
    data = made()
    tiny = ProbeData(data.features * 1e-8, data.labels, data.speakers)
    predicted = probe(tiny, {"clean": tiny.features}).tests["clean"]
    assert len(set(predicted)) == 1


@pytest.mark.parametrize(
    ("labels", "speakers", "words"),
    [(["a", "a"], ["A", "B"], "one label only"), (["a", "b"], ["A", "A"], "at least 2 speakers")],
)
def test_too_little_is_refused(labels, speakers, words):
    with pytest.raises(InvalidDataError, match=words):
        probe(ProbeData(np.eye(2), np.array(labels), np.array(speakers)), {})


def of_toy(toy, task="tone", **options):
    session = Session(home=toy.home, out=toy.out)
    return layer_curve(RunSpec("fbank", task, "toy"), session, **options)


def test_a_curve_has_every_state_and_all_with_counts_by_speaker(toy):
    outcome = of_toy(toy)
    result = outcome.curve
    assert [state.state for state in result.states] == ["0", "1", "2", "all"]
    assert {name: result.total(name) for name in result.utterances} == {
        "dev": 32,
        "clean": 16,
        "ood": 16,
    }
    assert all(0 <= result.accuracy(s.state, "clean") <= 1 for s in result.states)
    assert outcome.path == curve_path(toy.out, "toy", "fbank", "tone")
    assert read_curve(outcome.path) == result
    assert result.best_state().state in ("0", "1", "2")


def test_a_finished_curve_is_read_and_a_forced_one_is_the_same(toy):
    first = of_toy(toy)
    again, forced = of_toy(toy), of_toy(toy, force=True)
    assert (first.was_done, again.was_done, forced.was_done) == (False, True, False)
    assert again.curve == first.curve
    assert forced.curve.states == first.curve.states


def test_another_method_computes_the_curve_again(toy, monkeypatch):
    of_toy(toy)
    monkeypatch.setattr(curve, "METHOD", 0)
    assert not of_toy(toy).was_done


def test_only_classifications_of_whole_utterances_have_a_curve(toy):
    with pytest.raises(UsageError, match="task voice, track toy: layer curves are of tasks"):
        of_toy(toy, "voice")


def test_counts_that_do_not_fit_the_speakers_are_refused(toy):
    data = json.loads(of_toy(toy).path.read_text())
    data["states"][0]["hits"]["clean"].append(1)
    with pytest.raises(ValueError, match="state 0: one count a split and speaker expected"):
        LayerCurve.model_validate_json(json.dumps(data))
