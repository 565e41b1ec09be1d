"""Reruns: which utterances are drawn, and how far a score may differ."""

import pytest
from bundles import edit

from bench.commands import verify as command
from bench.errors import UsageError
from bench.records.record import read_record, write_record
from bench.submit.rerun import rerun


@pytest.mark.parametrize(
    ("asked", "level"),
    [([], "rescored"), (["tone:2"], "rescored"), (["tone:2", "voice:2"], "rerun")],
)
def test_a_row_is_rerun_where_every_task_was(toy, folder, monkeypatch, capsys, asked, level):
    import argparse

    monkeypatch.setattr(command, "home", lambda: toy.home)
    parser = argparse.ArgumentParser()
    command.configure(parser)
    words = [str(folder), *(word for what in asked for word in ("--rerun", what))]
    assert command.run(parser.parse_args(words)) == 0
    found = capsys.readouterr().out
    assert f"records verified ({level})" in found
    assert ("rerun seed" in found) == bool(asked)


def drawn(monkeypatch, toy, folder, seed):
    """Ids of the utterances that a rerun draws."""
    seen = []
    monkeypatch.setattr(
        "bench.submit.rerun.compare",
        lambda task, chosen, again, recorded: seen.extend(item.id for item in chosen),
    )
    rerun(folder, "tone:4", toy.home, seed)
    return seen


def test_no_text_of_the_bundle_chooses_the_utterances(toy, folder, monkeypatch):
    seven = drawn(monkeypatch, toy, folder, 7)
    edit(provenance__spec="chosen by the sender")(folder)
    assert drawn(monkeypatch, toy, folder, 7) == seven
    assert drawn(monkeypatch, toy, folder, 8) != seven
    draws = iter([7, 8])
    monkeypatch.setattr("bench.submit.rerun.draw_seed", lambda: next(draws))
    assert drawn(monkeypatch, toy, folder, None) == seven
    assert drawn(monkeypatch, toy, folder, None) != seven


def test_a_whole_rerun_refuses_what_lies_beyond_both_intervals(toy, folder):
    again = rerun(folder, "tone", toy.home)
    assert again.problems == () and any("accuracy on clean is" in line for line in again.agreements)
    low = {f"scores__0__{key}": 0.01 for key in ("value", "low", "high")}
    edit(**low)(folder)
    (problem,) = rerun(folder, "tone", toy.home).problems
    assert "is 100.00 [100.00, 100.00], recorded 1.00 [1.00, 1.00]" in problem


def test_a_rerun_is_of_the_plain_record(toy, folder):
    path = folder / "records/tone-s0.json"
    control = read_record(path).model_copy(update={"labels_shuffled": True})
    write_record(control, folder / "records/tone-s0-shuffled.json")
    assert rerun(folder, "tone:2", toy.home, 1).problems == ()
    path.unlink()
    with pytest.raises(UsageError, match="no plain record of 'tone'"):
        rerun(folder, "tone:2", toy.home, 1)
