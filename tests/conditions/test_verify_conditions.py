"""Scores under conditions: what `verify` holds a record to, beside the scores on its test sets."""

import shutil
from dataclasses import replace

import pytest
from trained_toy import make_trained, score_one

from bench.cli import main
from bench.conditions.scores import rescore_conditions
from bench.errors import InvalidDataError, MissingError
from bench.records.record import read_record, write_record


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        yield make_trained(tmp_path_factory.mktemp("trained"), patch)


@pytest.fixture(scope="module")
def scored(trained):
    """A record that was scored under a condition."""
    return score_one(trained.path, "white-5db", trained.session)


def with_condition(record, **changes):
    """The record, its condition changed."""
    (item,) = record.conditions
    return record.model_copy(update={"conditions": (item.model_copy(update=changes),)})


@pytest.mark.parametrize("name", ["value", "low", "high", "chance"])
def test_the_last_digits_may_differ(trained, scored, name):
    (item,) = scored.conditions
    for shift, expected in ((1e-12, []), (1e-6, ["white-5db"])):
        number = getattr(item.scores[0], name) + shift
        moved = item.scores[0].model_copy(update={name: number})
        record = with_condition(scored, scores=(moved, *item.scores[1:]))
        assert rescore_conditions(record, trained.path, trained.session).differing == expected


def test_a_score_is_there_and_is_a_number(trained, scored):
    (item,) = scored.conditions
    none = item.scores[0].model_copy(update={"low": None})
    for scores in ((), (none, *item.scores[1:])):
        record = with_condition(scored, scores=scores)
        assert rescore_conditions(record, trained.path, trained.session).differing == ["white-5db"]


def test_a_condition_stands_there_once(scored, tmp_path):
    twice = scored.model_copy(update={"conditions": scored.conditions * 2})
    write_record(twice, tmp_path / "ks-s0.json")
    with pytest.raises(InvalidDataError, match="the condition 'white-5db' stands there 2 times"):
        read_record(tmp_path / "ks-s0.json")


def test_a_condition_is_the_one_of_this_checkout(trained, scored):
    record = with_condition(scored, sha256="0" * 64)
    with pytest.raises(InvalidDataError, match=r"white-5db: sha256 000000000000, .* another"):
        rescore_conditions(record, trained.path, trained.session)


def test_a_condition_that_only_its_sender_has_is_refused(trained, scored):
    record = with_condition(scored, condition="own-noise")
    with pytest.raises(InvalidDataError, match="of noise that only its sender has"):
        rescore_conditions(record, trained.path, trained.session)


def test_conditions_that_are_not_asked_for_are_left_alone(trained, scored):
    record = with_condition(scored, condition="own-noise")
    found = rescore_conditions(record, trained.path, trained.session, names=["white-5db"])
    assert found == ([], {})


def test_own_runs_are_compared_whatever_else_they_were_scored_on(
    trained, monkeypatch, capsys, tmp_path
):
    record = score_one(trained.path, "ladder-white,gsm", trained.session)
    items = [
        item.model_copy(update={"condition": "own-noise"}) if item.condition == "gsm" else item
        for item in record.conditions
    ]
    write_record(record.model_copy(update={"conditions": tuple(items)}), trained.path)
    other = trained.path.parents[1] / "fbank@deltas=0"
    shutil.copytree(trained.path.parent, other)
    changed = {"upstream": other.name, "conditions": tuple(items)}
    write_record(record.model_copy(update=changed), other / trained.path.name)
    monkeypatch.setenv("SLIM_SUPERB_HOME", str(trained.toy.home))
    options = ["--track", record.track, "--runs", str(trained.path.parents[2])]
    for name in ("clean", "ladder-white"):
        options += ["--condition", name, "--board", str(tmp_path)]
        assert main(["compare", record.upstream, other.name, *options]) == 0
        shown = capsys.readouterr().out
        assert "accuracy" in shown and "no test" in shown  # of one head seed nothing is said


def test_noise_corpora_are_looked_for_in_the_folder_given(trained, scored, tmp_path):
    record = with_condition(scored, condition="rooms-measured")
    with pytest.raises(MissingError, match="with --noise-dir"):
        rescore_conditions(record, trained.path, trained.session)
    with pytest.raises(MissingError, match="no such folder"):
        rescore_conditions(
            record, trained.path, replace(trained.session, noise_dir=tmp_path / "none")
        )
