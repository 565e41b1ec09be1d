"""A key twice is an error in cards, records and predictions; a reader sees the first one."""

import pytest
import yaml

from bench.config import UpstreamCard
from bench.errors import InvalidDataError
from bench.load.catalog import CARDS
from bench.records.cost_report import read_cost_report
from bench.records.record import read_record
from bench.registry import ROOT
from bench.run.evaluate import read_predictions, write_predictions
from bench.schema import read_card

RECORD = ROOT / "leaderboard/results/quick/random_features/ks-s0.json"
COSTS = ROOT / "leaderboard/costs/ge2e.json"


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("\ntitle: ", "\ntitle: Another\ntitle: ", "title"),
        ("\nconfig: {deltas: 2", "\nconfig: {deltas: 1, deltas: 2", "deltas"),
        ("\nconfig: {deltas: 2", '\nconfig: {"deltas": 1, deltas: 2', "deltas"),
    ],
)
def test_cards(tmp_path, old, new, key):
    text = (CARDS / "fbank.yaml").read_text()
    assert old in text
    path = tmp_path / "fbank.yaml"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(InvalidDataError) as error:
        read_card(path, UpstreamCard)
    assert f"{path}: not valid YAML: key '{key}' twice" in str(error.value)
    assert "line" in str(error.value)


def test_yaml_is_else_what_the_safe_loader_reads():
    for path in CARDS.glob("*.yaml"):
        assert read_card(path, UpstreamCard) == UpstreamCard.model_validate(
            yaml.safe_load(path.read_text())
        )


@pytest.mark.parametrize("source", [RECORD, COSTS])
@pytest.mark.parametrize("place", ["outer", "inner"])
def test_records_and_cost_reports(tmp_path, source, place):
    text = source.read_text()
    key = ("seed" if source == RECORD else "stride") if place == "outer" else "rtf"
    assert f'"{key}": ' in text
    path = tmp_path / source.name
    path.write_text(text.replace(f'"{key}": ', f'"{key}": 1, "{key}": ', 1))
    with pytest.raises(InvalidDataError, match=f"{source.name}: not a .*: key '{key}' twice"):
        (read_record if source == RECORD else read_cost_report)(path)


def test_predictions(tmp_path):
    path = tmp_path / "clean.jsonl"
    path.write_text('{"id": "a", "prediction": "low", "prediction": "high"}\n')
    with pytest.raises(InvalidDataError, match="key 'prediction' twice"):
        read_predictions(path)


def test_an_id_may_hold_what_ends_a_line_elsewhere(tmp_path):
    ids = ["a\u2028b", "c\u0085d", "e\x0cf", "g\nh"]
    write_predictions(tmp_path / "clean.jsonl", ids, ["low"] * 4)
    predictions, _ = read_predictions(tmp_path / "clean.jsonl")
    assert list(predictions) == ids


def test_an_empty_file_is_called_empty(tmp_path):
    path = tmp_path / "ks-s0.json"
    path.write_text("")
    with pytest.raises(InvalidDataError, match="not a record: the file is empty"):
        read_record(path)
