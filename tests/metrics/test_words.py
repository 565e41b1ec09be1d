"""Word discrimination: the average precision against scikit-learn's, and its parts by token."""

import base64
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from bench.api import Utterance
from bench.errors import InvalidDataError
from bench.metrics.item_file import ItemFile
from bench.metrics.items import Items
from bench.metrics.jackknife import jackknife
from bench.metrics.metric import METRICS
from bench.metrics.words import average_precision_parts, template
from bench.records.record import read_record
from leaderboard.board.reading import BoardRecord
from leaderboard.board.record_rows import _right_shares

METRIC = METRICS["average_precision"]


def token(number, word, speaker):
    return Utterance(f"line#{number:02d}", Path("none"), 0, 9, word, speaker, "", "key")


def encoded(values):
    rows = np.asarray(values, dtype=np.int8)
    return [base64.b64encode(row.tobytes()).decode() for row in rows]


def made(seed=0, count=60, voices=4):
    rng = np.random.default_rng(seed)
    words = rng.integers(0, 8, count).astype(str)
    speakers = rng.integers(0, voices, count).astype(str)
    centres = rng.normal(size=(8, 12))
    templates = centres[words.astype(int)] + rng.normal(size=(count, 12))
    return templates / np.linalg.norm(templates, axis=1, keepdims=True), words, speakers


def test_the_parts_sum_to_scikit_learns_average_precision():
    templates, words, speakers = made()
    tops, bottoms = average_precision_parts(templates, words, speakers)
    left, right = np.triu_indices(len(words), 1)
    across = speakers[left] != speakers[right]
    left, right = left[across], right[across]
    expected = average_precision_score(
        words[left] == words[right], (templates @ templates.T)[left, right]
    )
    assert tops.sum() / bottoms.sum() == pytest.approx(expected, abs=1e-12)
    assert bottoms.sum() == (words[left] == words[right]).sum()


def test_the_tokens_of_a_speaker_gain_what_leaving_it_out_loses():
    templates, words, speakers = made(count=40)
    tops, bottoms = average_precision_parts(templates, words, speakers)
    value, without = tops.sum() / bottoms.sum(), {}
    for name in np.unique(speakers):
        rest = speakers != name
        parts = average_precision_parts(templates[rest], words[rest], speakers[rest])
        without[name] = parts[0].sum() / parts[1].sum()
    mean, count = np.mean(list(without.values())), len(without)
    for name, left_out in without.items():
        gains = (tops - value * bottoms)[speakers == name]
        expected = (count - 1) / count * (mean - left_out) * bottoms.sum()
        assert gains.sum() == pytest.approx(expected)
        assert np.ptp(gains) == pytest.approx(0.0, abs=1e-12)


def test_a_template_has_its_frames_side_by_side_at_unit_length():
    assert template(encoded([[3, 0], [-4, 0]]), "u1") == pytest.approx([0.6, 0.0, -0.8, 0.0])
    assert template(encoded([[0, 0]]), "u1").tolist() == [0.0, 0.0]


def test_a_template_has_as_many_numbers_as_allowed_and_no_more(monkeypatch):
    monkeypatch.setattr("bench.metrics.words.MAX_NUMBERS", 4)
    assert len(template(encoded([[1, 2], [3, 4]]), "u1")) == 4
    with pytest.raises(InvalidDataError, match="u1: 5 numbers, 1 to 4 expected"):
        template(encoded([[1, 2, 3, 4, 5]]), "u1")


def test_equal_cosines_share_the_lowest_precision():
    """One pair of one word among six equal pairs: its precision is that of all six."""
    same = np.tile([[1.0, 0.0]], (4, 1))
    tops, bottoms = average_precision_parts(same, np.array(list("aabc")), np.array(list("ABCD")))
    assert tops.sum() / bottoms.sum() == pytest.approx(1 / 6)


def test_pairs_of_one_speaker_do_not_count():
    templates = np.eye(3)[[0, 0, 1, 0]]
    words, speakers = np.array(list("aaba")), np.array(list("AABB"))
    _, bottoms = average_precision_parts(templates, words, speakers)
    assert bottoms.tolist() == [0.5, 0.5, 0.0, 1.0]


def test_leaving_out_the_items_of_a_speaker_has_the_error_of_ranking_again():
    templates, words, speakers = made(count=240, voices=12)
    tops, bottoms = average_precision_parts(templates, words, speakers)
    names = np.unique(speakers)
    without = []
    for name in names:
        rest = speakers != name
        one, other = average_precision_parts(templates[rest], words[rest], speakers[rest])
        without.append(one.sum() / other.sum())
    expected = np.sqrt((len(names) - 1) * np.var(without))
    ids = np.arange(len(words)).astype(str)
    items = Items(ids=ids, numerators=tops, denominators=bottoms, clusters=speakers)
    assert np.sqrt(jackknife(items).variance) == pytest.approx(expected, rel=0.1)


def test_predictions_are_frames_of_8_bit_integers():
    items = [token(0, "QUEEN", "A"), token(1, "QUEEN", "B"), token(2, "JUNGLE", "C")]
    predictions = {
        items[0].id: encoded([[127, 0], [0, 127]]),
        items[1].id: encoded([[60, 0], [0, 60]]),
        items[2].id: encoded([[0, 127], [-127, 0]]),
    }
    score = METRIC.score(predictions, items)
    assert (score.value, score.denominator, score.n) == (1.0, 1.0, 3)


@pytest.mark.parametrize("prediction", ["text", [1], ["=="], [], None, ["\N{SNOWMAN}"]])
def test_malformed_templates_are_refused(prediction):
    with pytest.raises(InvalidDataError, match="who: "):
        template(prediction, "who")


def test_a_malformed_template_is_named_by_its_token():
    items = [token(0, "QUEEN", "A"), token(1, "QUEEN", "B")]
    with pytest.raises(InvalidDataError, match="prediction of 'line#01': "):
        METRIC.score({items[0].id: encoded([[1, 2]]), items[1].id: "text"}, items)


def test_templates_of_two_sizes_are_refused():
    items = [token(0, "QUEEN", "A"), token(1, "QUEEN", "B")]
    with pytest.raises(InvalidDataError, match="templates of one size"):
        METRIC.score({items[0].id: encoded([[1]]), items[1].id: encoded([[1, 2]])}, items)


def test_a_token_of_words_is_right_by_no_share():
    """Its part of the average precision may lie outside 0 to 1: the page has no digit for it."""
    path = Path(__file__).resolve().parents[2] / "leaderboard/results/open/ge2e/ks-s0.json"
    record = read_record(path)
    parts = np.array([1.6, -0.2])
    for metric, tasks in (("average_precision", set()), ("accuracy", {record.task})):
        score = record.score().model_copy(update={"metric": metric})
        made = record.model_copy(update={"scores": (score,)})
        items = Items(
            ids=("a", "b"), numerators=parts, denominators=np.ones(2), clusters=("x", "y")
        )
        row = BoardRecord(path, made, ItemFile({("clean", metric): items}))
        assert _right_shares([row]).keys() == tasks
