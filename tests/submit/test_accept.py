"""A verified bundle on the board: the standing of its row, and what a row keeps."""

import pytest
import yaml

from bench.errors import InvalidDataError
from bench.records.record import ConditionResult, read_record, write_record
from bench.records.standing import Standing
from bench.schema import read_card
from bench.submit.accept import accept
from bench.submit.verify import check


@pytest.fixture
def board(toy, folder, tmp_path):
    """A board with the toy's row, and the bundle that it came from."""
    bundle, _ = check(folder, toy.home)
    place = tmp_path / "leaderboard"
    accept(bundle, place, "rescored")
    return place, bundle


def stand(place, **changes):
    """Change the row's standing."""
    path = place / "standing/toy/fbank.yaml"
    data = yaml.safe_load(path.read_text("utf-8")) | changes
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    return path


def only(bundle, name):
    """The bundle with one of its records only."""
    bundle.records = {path: record for path, record in bundle.records.items() if path.stem == name}
    return bundle


def test_a_revoked_row_takes_nothing_in(board):
    place, bundle = board
    path = stand(place, revoked="test set seen")
    before = path.read_bytes()
    with pytest.raises(InvalidDataError, match="the row is revoked: lift that"):
        accept(bundle, place, "rerun")
    assert path.read_bytes() == before


def test_a_row_stays_in_its_division(board):
    place, bundle = board
    stand(place, division="open")
    with pytest.raises(InvalidDataError, match="row is of the open division, the bundle of closed"):
        accept(bundle, place, "rescored")


def test_records_that_stay_keep_level_flags_and_sender(board):
    place, bundle = board
    path = stand(place, flags=["extra-data"], submitted_by="B. Other")
    accept(only(bundle, "tone-s0"), place, "rerun")
    found = read_card(path, Standing)
    assert (found.verified, found.flags) == ("rescored", ("extra-data",))
    assert found.submitted_by == "B. Other, A. Body"
    stand(place, verified="recorded")
    accept(bundle, place, "rerun")
    assert read_card(path, Standing).verified == "recorded"
    assert read_card(path, Standing).submitted_by == "B. Other, A. Body"


def test_a_bundle_of_the_whole_row_says_how_it_stands(board):
    place, bundle = board
    path = stand(place, flags=["extra-data"], submitted_by="B. Other", verified="recorded")
    accept(bundle, place, "rerun")
    assert read_card(path, Standing) == Standing(
        upstream="fbank",
        track="toy",
        flags=("extra-data",),
        submitted_by="A. Body",
        verified="rerun",
    )


def test_conditions_on_the_board_do_not_get_lost(board):
    place, bundle = board
    path = place / "results/toy/fbank/tone-s0.json"
    under = ConditionResult(
        condition="white-5db", sha256="", predictions_sha256="", commit=None, dirty=None, scores=()
    )
    write_record(read_record(path).model_copy(update={"conditions": (under,)}), path)
    with pytest.raises(InvalidDataError, match=r"tone-s0\.json: lacks the conditions white-5db"):
        accept(bundle, place, "rescored")


def test_a_row_is_of_one_model(board):
    place, bundle = board
    path = place / "results/toy/fbank/voice-s0.json"
    record = read_record(path)
    write_record(record.model_copy(update={"tap": "another"}), path)
    accept(bundle, place, "rescored")
    write_record(record.model_copy(update={"tap": "another"}), path)
    with pytest.raises(InvalidDataError, match=r"voice-s0\.json on the board is of another family"):
        accept(only(bundle, "tone-s0"), place, "rescored")
