"""What `verify` and `--accept` hold a bundle to, beyond what is broken at first sight."""

import json
import random
import re
import shutil
import time

import pytest
import yaml
from bundles import about, card, cost, edit, one_line, predictions
from toy_track import evaluate

from bench.commands import verify as command
from bench.errors import InvalidDataError, MissingError, UsageError
from bench.load.loader import load_upstream
from bench.measure.cost import Cost
from bench.metrics.edits import tagged_slots
from bench.records.bundle import BundleCard
from bench.records.cost_report import BucketMacs
from bench.records.record import ConditionResult, read_record, write_record
from bench.records.standing import Standing
from bench.registry import ROOT, task_card
from bench.run.artifacts import evidence
from bench.schema import read_card
from bench.submit.accept import accept
from bench.submit.record_check import rate_problems, selection_problems
from bench.submit.rerun import rerun
from bench.submit.submit import submit
from bench.submit.verify import check

GRID = [{"lr": 1e-2, "step": 10, "value": 0.5}, {"lr": 1e-3, "step": 10, "value": 0.75}]


@pytest.fixture
def read(toy, folder):
    """The record as `verify` reads it, after some changes."""

    def changed(**changes):
        edit(**changes)(folder)
        return read_record(folder / "records/tone-s0.json")

    return changed


def selected(full, explored=(), **chosen):
    """What a run writes about its choice."""
    choice = {"metric": "accuracy", "value": 0.8, "step": 30, "lr": 1e-3, **chosen}
    return {"selection": {"split": "dev", **choice, "grid": full, "explored": list(explored)}}


@pytest.mark.parametrize(
    ("full", "explored", "expected"),
    [
        ([(1e-3, 0.8)], GRID, None),
        ([(1e-2, 0.8)], GRID, "not the one that dev chose"),
        ([(1e-3, 0.8), (1e-2, 0.7)], GRID, "trained in full: 0.001, 0.01"),
        ([(1e-3, 0.8)], GRID[1:], "explored learning rates"),
        ([], GRID, "trained in full: none"),
        ([(1e-3, 0.8)], [{**point, "value": None} for point in GRID], "not the one that dev chose"),
    ],
)
def test_a_recipe_that_explores_trains_only_the_best_in_full(toy, read, full, explored, expected):
    recipe = task_card("tone", "toy").recipe.model_copy(update={"explore": 0.5})
    grid = [{"lr": lr, "step": 30, "value": value} for lr, value in full]
    record = read(**selected(grid, explored))
    problems = [*rate_problems(record, recipe), *selection_problems(record)]
    assert (not problems) if expected is None else expected in problems[0]


def test_a_recipe_that_does_not_explore_has_nothing_explored(toy, folder):
    edit(selection__explored=GRID)(folder)
    assert any("explored learning rates" in line for line in one_line(folder, toy.home))


def test_a_grid_that_diverged_everywhere_is_a_problem_in_one_line(toy, folder):
    path = folder / "records/tone-s0.json"
    grid = json.loads(path.read_text("utf-8"))["selection"]["grid"]
    edit(selection__grid=[{**point, "value": None} for point in grid])(folder)
    assert any("not the one that dev chose" in line for line in one_line(folder, toy.home))


def test_a_track_whose_corpora_are_not_here_is_one_line(toy, folder, tmp_path, monkeypatch):
    from bench.run import spec

    away = type("Corpus", (), {"folder": staticmethod(lambda home: tmp_path / "none")})
    monkeypatch.setattr(spec, "corpus_module", lambda name: away)
    (line,) = check(folder, toy.home)[1].problems
    assert "the corpora of track toy are not here" in line and "data prepare --track toy" in line


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
    assert "recorded 0.0100 [0.0100, 0.0100]" in problem


def test_a_rerun_is_of_the_plain_record(toy, folder):
    path = folder / "records/tone-s0.json"
    ceiling = read_record(path).model_copy(update={"ceiling": True})
    write_record(ceiling, folder / "records/tone-s0-ceiling.json")
    assert rerun(folder, "tone:2", toy.home, 1).problems == ()
    path.unlink()
    with pytest.raises(UsageError, match="no plain record of 'tone'"):
        rerun(folder, "tone:2", toy.home, 1)


NAN, INFINITE = float("nan"), float("inf")
TIMING = {"seconds": 10.0, "runs": 5, "rtf": 0.1, "rtf_iqr": 0.01}


@pytest.mark.parametrize(
    ("change", "key"),
    [
        (edit(selection__value=NAN), "selection.value"),
        (edit(selection__grid__0__value=NAN), "selection.grid.0.value"),
        (edit(scores__0__numerator=NAN), "scores.0.numerator"),
        (edit(scores__0__denominator=INFINITE), "scores.0.denominator"),
        (edit(cost__macs_per_second=NAN), "cost.macs_per_second"),
        (edit(cost__rtf=INFINITE), "cost.rtf"),
        (edit(head__layer_weights=[NAN]), "head.layer_weights.0"),
        (edit(provenance__seconds=NAN), "provenance.seconds"),
        (cost(macs_per_second=NAN), "macs_per_second"),
        (cost(timing=TIMING | {"rtf": NAN}), "timing.rtf"),
        (cost(reported={"params": INFINITE}), "reported.params"),
    ],
)
def test_no_number_is_nan_or_infinite(toy, folder, change, key):
    change(folder)
    (line,) = one_line(folder, toy.home)
    assert any(f"not a {what}: key '{key}': " in line for what in ("record", "cost report"))


def test_parameters_are_exact_and_macs_the_same_in_all_records(toy, folder, monkeypatch):
    million = Cost(1_000_000, 2e6, 3, 8, 320)
    monkeypatch.setattr("bench.submit.cost_check.measure", lambda upstream: million)
    cost(params=1_000_000, macs_per_second=2e6)(folder)
    for name in ("tone-s0", "voice-s0"):
        path = folder / f"records/{name}.json"
        data = json.loads(path.read_text("utf-8"))
        data["cost"] |= {"params": 1_000_000, "macs_per_second": 2e6}
        path.write_text(json.dumps(data), encoding="utf-8")
    assert one_line(folder, toy.home) == []
    cost(params=1_000_001, macs_per_second=2e6)(folder)
    assert one_line(folder, toy.home) == ["cost.json: 1,000,001 parameters, 1,000,000 measured"]
    cost(params=1_000_000, macs_per_second=2e6, seconds=9.0)(folder)
    assert one_line(folder, toy.home) == ["cost.json: MACs of 9 s of input, 10 expected"]
    edit(cost__params=999_999)(folder)
    assert "tone-s0.json: 999,999 parameters, 1,000,000 measured" in one_line(folder, toy.home)
    edit(cost__macs_per_second=2_000_001.0)(folder)
    assert any("MACs a second differ" in line for line in one_line(folder, toy.home))


@pytest.mark.parametrize("name", ["tone-s0-b", "tone-s0-shuffled", "tone-s0-ceiling", "tone-s00"])
def test_a_record_has_the_name_of_its_run(toy, folder, name):
    (folder / "records/tone-s0").rename(folder / f"records/{name}")
    (folder / "records/tone-s0.json").rename(folder / f"records/{name}.json")
    assert any("holds tone-s0, by its content" in line for line in one_line(folder, toy.home))


SUMS = {"short": 100_000, "medium": 100_000, "long": 100_000, "longer": 100_000, "total": 400_000}
PLAIN = {"rule": "plain", **SUMS, "per_second_min": 1000.0, "per_second_max": 2000.0}
MEASURED = [PLAIN, PLAIN | {"rule": "superb_slt2022"}]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"buckets": MEASURED}, None),
        ({"buckets": [PLAIN, MEASURED[1] | {"total": 300_000}]}, "MACs (superb_slt2022, total)"),
        ({"buckets": [PLAIN | {"longer": 1}, MEASURED[1]]}, "MACs (plain, longer)"),
        ({"buckets": [MEASURED[1]]}, "MACs in the rules superb_slt2022;"),
        ({"buckets": [*MEASURED, PLAIN]}, "MACs in the rules plain,"),
        ({"stored_bytes": 9}, "9 stored bytes, 10 measured"),
        ({"peak_memory_bytes": 0}, "peak memory 0, a number above 0"),
        ({"timing": TIMING}, None),
        ({"timing": TIMING | {"rtf_iqr": 0.0}}, None),
        ({"timing": TIMING | {"rtf": 0.0}}, "timing.rtf 0, a number above 0"),
        ({"timing": TIMING | {"speedup": -2.0}}, "timing.speedup -2, a number above 0"),
    ],
)
def test_a_cost_report_is_what_the_module_costs(toy, folder, monkeypatch, changes, expected):
    measured = tuple(BucketMacs.model_validate(macs) for macs in MEASURED)
    monkeypatch.setattr("bench.submit.cost_check.standard_macs", lambda upstream: measured)
    cost(**changes)(folder)
    problems = one_line(folder, toy.home)
    assert (not problems) if expected is None else expected in problems[0]


def test_a_time_of_a_record_is_above_0(toy, folder):
    edit(cost__rtf=-1.0)(folder)
    (line,) = one_line(folder, toy.home)
    assert line == "tone-s0.json: real-time factor -1, a number above 0 expected"


def as_by_expressions(text):
    """Slots by regular expressions as s3prl writes them: slow on what has no end."""
    found = re.findall(r"B-(\S+) (.+?) E-\1", " ".join(text.split()))
    return [
        (kind, re.sub(r" E-\S+", "", re.sub(r"B-\S+ ", "", value)).strip()) for kind, value in found
    ]


def test_slots_are_those_of_the_expressions():
    rng = random.Random(0)
    parts = ["B-", "E-", "a", "ab", "b", " ", " ", " B-a ", " E-a", " E-ab", "B-a B-b x"]
    for _ in range(5_000):
        text = "".join(rng.choice(parts) for _ in range(rng.randrange(1, 16)))
        assert tagged_slots(text) == as_by_expressions(text), text


@pytest.mark.parametrize(
    "text",
    [
        "B-a x " * 50_000,
        "B-" * 10_000,
        "B-" * 5_000 + " x " * 100,
        "B-a " + "B-" * 5_000 + " E-a",
        "".join(f"B-{i} x " for i in range(1_200)),
        "B-a x E-b " * 30_000,
    ],
)
def test_slots_of_hostile_text_take_no_time(text):
    start = time.process_time()
    tagged_slots(text)
    assert time.process_time() - start < 1.0


def test_the_workflow_does_not_verify_for_hours():
    flow = yaml.safe_load((ROOT / ".github/workflows/board.yml").read_text("utf-8"))
    assert flow["jobs"]["verify"]["timeout-minutes"] <= 60


def test_a_prediction_has_a_length(toy, folder):
    def lengthen(lines):
        item = json.loads(lines[0])
        return [json.dumps(item | {"prediction": "x" * 10_001}), *lines[1:]]

    predictions(lengthen)(folder)
    (line,) = one_line(folder, toy.home)
    assert "10001 characters, at most 10000 expected" in line


CONTROL = "\x1b[31mred\u202e"


@pytest.mark.parametrize(
    "change",
    [
        edit(**{CONTROL: 1}),
        edit(**{"x" * 100_000: 1}),
        about(**{CONTROL: 1}),
        about(**{"y" * 100_000: 1}),
        card(**{CONTROL: 1}),
        cost(**{CONTROL: 1}),
        cost(**{"z" * 50_000: 1}),
        edit(inputs__manifests={}, predictions_sha256={"k" * 50_000: ""}),
        predictions(lambda lines: [*lines, json.dumps({"id": CONTROL * 999, "prediction": "low"})]),
        predictions(
            lambda lines: [*lines, *['{"id": "' + "i" * 9999 + '", "prediction": ""}'] * 2]
        ),
    ],
)
def test_what_a_stranger_wrote_is_quoted_short_and_plain(toy, folder, change):
    change(folder)
    problems = one_line(folder, toy.home)
    assert problems
    for line in problems:
        assert len(line) <= 300 and line.isprintable()


def test_ids_are_texts(toy, folder):
    more = ['{"id": 1, "prediction": "low"}', '{"id": "e", "prediction": "low"}']
    predictions(lambda lines: [*lines, *more])(folder)
    (line,) = one_line(folder, toy.home)
    assert "an id that is no text" in line


@pytest.mark.parametrize("split", ["train", "dev", "clean", "ood"])
def test_every_manifest_is_the_one_of_this_checkout(toy, folder, split):
    edit(**{f"inputs__manifests__{split}": "0" * 64})(folder)
    (line,) = one_line(folder, toy.home)
    assert f"another manifest of '{split}'" in line


def test_a_control_is_scored_by_its_shuffled_training_table(toy):
    path = toy.out / "toy/fbank/tone-s0-shuffled.json"
    evaluate(toy, shuffle_labels=True)
    try:
        assert [item.condition for item in evidence(path, toy.home)] == ["clean", "ood"]
    finally:
        path.unlink()
        shutil.rmtree(path.with_suffix(""))


OTHER = [{"lr": 0.5, "step": 1, "value": 0.25}, {"lr": 0.25, "step": 1, "value": 0.5}]
FREE = {"inputs__task_card_sha256": "0" * 64, "selection__grid": OTHER}


@pytest.mark.parametrize("division", ["closed", "open"])
def test_only_the_open_division_is_free_in_head_and_grid(toy, folder, division):
    about(division=division)(folder)
    edit(**FREE, selection__lr=0.25, selection__value=0.5)(folder)
    report = check(folder, toy.home)[1]
    where = report.remarks if division == "open" else report.problems
    assert any("another task card" in line for line in where)
    assert any("learning rates (0.5, 0.25), (0.01, 0.001) expected" in line for line in where)
    assert bool(report.problems) == (division == "closed")


def test_dev_chooses_in_the_open_division_too(toy, folder):
    about(division="open")(folder)
    edit(**FREE, selection__lr=0.5, selection__value=0.25)(folder)
    (line,) = one_line(folder, toy.home)
    assert "learning rate 0.5 is not the one that dev chose" in line


def test_a_name_that_records_spell_otherwise_is_told(toy, tmp_path, monkeypatch):
    """Of `@tap=paper`, say, the records lie under `@tap=last`."""
    load = load_upstream("fbank")
    monkeypatch.setattr("bench.submit.submit.load_upstream", lambda name: load)
    mine = BundleCard(upstream="fbank@cmvn=on", track="toy")
    with pytest.raises(UsageError, match="records call 'fbank@cmvn=on' 'fbank': submit that name"):
        submit(mine, runs=toy.out, out=tmp_path / "y", home=toy.home, cost=toy.cost)
    with pytest.raises(MissingError, match="no records"):
        submit(mine, runs=tmp_path, out=tmp_path / "y", home=toy.home, cost=toy.cost)
