"""The committed records: readable, whole, and where their content says."""

from pathlib import Path

import pytest

from bench.identity import card_digest
from bench.load.catalog import parse_upstream_name, upstream_card
from bench.paths import runs_folder
from bench.records.layer_curve import read_curve
from bench.records.record import Record, read_record
from bench.registry import task_card

RESULTS = Path(__file__).resolve().parents[2] / "leaderboard" / "results"
RECORDS = sorted(RESULTS.glob("*/*/*.json"))


@pytest.fixture(scope="module")
def records() -> list[tuple[Path, Record]]:
    return [(path, read_record(path)) for path in RECORDS]


def test_there_are_some():
    assert RECORDS


def test_every_record_lies_where_it_says(records):
    for path, record in records:
        assert path.parent == runs_folder(RESULTS, record.track, record.upstream)
        assert path.name.startswith(f"{record.task}-s{record.seed}")
        assert ("shuffled" in path.name) == record.labels_shuffled


def test_every_record_is_a_whole_result(records):
    for path, record in records:
        assert record.limit is None, path
        assert record.status == "ok", path
        assert record.provenance.dirty is False, path
        assert (record.weights == "untrained") == ("+untrained" in record.upstream), path
        for score in record.scores:
            if score.low is not None:
                assert score.low <= score.value <= score.high, path
            if score.denominator:
                assert score.value == pytest.approx(score.numerator / score.denominator), path


def test_every_record_was_made_by_the_card_that_is_here(records):
    for path, record in records:
        card = task_card(record.task, record.track)
        assert record.task_version == card.version, path
        assert record.inputs.task_card_sha256 == card_digest(card), path
        assert {score.metric for score in record.scores} == set(card.metrics), path


def test_every_record_was_made_by_the_upstream_that_is_here(records):
    for path, record in records:
        card = upstream_card(parse_upstream_name(record.upstream).card)
        assert record.inputs.upstream_card_sha256 == card_digest(card), path
        file = record.inputs.checkpoint_sha256
        if file is not None:
            assert card.checkpoint is not None and file in card.checkpoint.vouched, path


@pytest.mark.parametrize(
    ("track", "upstreams"),
    [
        ("open", ("whisper_tiny_en", "house_wave")),
        ("quick", ("random_features",)),
    ],
)
def test_every_task_has_been_validated(records, track, upstreams):
    """Track superb needs corpora that nobody may pass on: its records come from those who have."""
    done = {(record.task, record.upstream) for _, record in records if record.track == track}
    for task in ("asr", "asv", "ic", "ks", "sid", "slu"):
        for upstream in upstreams:
            assert (task, upstream) in done, (track, task, upstream)


def test_layer_curves_are_of_upstreams_with_records():
    """The same weights on the same utterances."""
    curves = [read_curve(path) for path in sorted(RESULTS.glob("*/*/layers/*.json"))]
    assert curves
    for curve in curves:
        folder = runs_folder(RESULTS, curve.track, curve.upstream)
        record = read_record(folder / f"{curve.task}-s0.json")
        assert curve.inputs.upstream_sha256 == record.inputs.upstream_sha256, curve.upstream
        assert curve.inputs.manifests == record.inputs.manifests, curve.upstream


def test_every_system_can_check_the_files_out():
    for path in RESULTS.parent.rglob("*"):
        assert not set(path.name) & set('<>:"\\|?*'), path
