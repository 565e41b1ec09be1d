"""Report scores under conditions, and compute them again from predictions."""

from __future__ import annotations

import json

import numpy as np
import pytest
from toy_track import evaluate
from trained_toy import score_one, scored

from bench import paths
from bench.conditions.catalogue import catalogue, condition
from bench.conditions.report import condition_table, sets_of, summary
from bench.conditions.scores import rescore_conditions
from bench.conditions.sets import condition_set
from bench.errors import InvalidDataError, MissingError
from bench.load.catalog import upstream_card
from bench.metrics.degradation import relative_degradation
from bench.metrics.items import Items
from bench.metrics.metric import METRICS
from bench.metrics.resamples import replicates, resample
from bench.records.record import read_record
from bench.registry import ROOT
from bench.run.evaluate import read_predictions
from tools.benchmarks.distortion_speed import measure_speed
from tools.pages.conditions import breaks, read_reasons, read_scored, write_page


def test_sets_have_a_mean_and_a_worst(trained):
    record = scored(trained, "ladder-white")
    assert sets_of(record) == {"ladder-white": [f"white-{n}db" for n in (20, 10, 5, 0)]}
    mean, worst, name = summary(record, sets_of(record)["ladder-white"], "accuracy")
    values = {item.condition: item.scores[0].relative for item in record.conditions}
    assert mean == pytest.approx(np.mean(list(values.values())))
    assert worst == values[name] == max(values.values())
    text = condition_table(record, trained.path)
    assert "ladder-white" in text
    assert "16" in text


def test_the_teacher_has_a_column(trained, monkeypatch):
    scored(trained, "gsm")
    student = trained.path.parent.with_name("distilhubert")
    student.mkdir()
    data = json.loads(trained.path.read_text())
    (student / trained.path.name).write_text(json.dumps(data | {"upstream": "distilhubert"}))
    teacher = upstream_card("distilhubert").teacher
    trained.path.parent.rename(trained.path.parent.with_name(teacher))
    path = student / trained.path.name
    assert f"teacher {data['upstream']}" in condition_table(read_record(path), path)


def items(numerators):
    count = len(numerators)
    names = np.array([f"u{index}" for index in range(count)])
    return Items(names, np.array(numerators, float), np.ones(count), names)


def test_relative_degradation_is_paired_and_signed():
    clean, worse = (resample(items([1] * n + [0] * (100 - n)), "utterance") for n in (80, 60))
    change = relative_degradation(worse, clean, higher_is_better=True)
    assert change.difference == pytest.approx(0.25)
    assert change.low > 0
    errors = relative_degradation(worse, clean, higher_is_better=False)
    assert errors.difference == pytest.approx(-0.25)
    same = relative_degradation(clean, clean, higher_is_better=True)
    assert (same.low, same.difference, same.high) == (0, 0, 0)
    other = resample(items([1] * 60 + [0] * 40), "utterance", seed=1)
    apart = relative_degradation(other, clean, higher_is_better=True)
    assert apart.high - apart.low > change.high - change.low
    nothing = resample(items([0] * 100), "utterance")
    assert relative_degradation(worse, nothing, higher_is_better=True) is None


def test_the_page_is_a_pure_function_of_records(trained, tmp_path):
    pytest.importorskip("matplotlib")
    with pytest.raises(MissingError, match="no record was scored"):
        write_page(trained.toy.out, "toy", tmp_path)
    scored(trained, "ladder-white,gsm")
    files = write_page(trained.toy.out, "toy", tmp_path / "one")
    assert [path.name for path in files] == ["conditions.md", "conditions-tone.svg"]
    text = files[0].read_text()
    assert "| white-0db" in text
    assert "3 pairs of neighbouring rungs" in text
    again = write_page(trained.toy.out, "toy", tmp_path / "two")
    assert [path.read_bytes() for path in files] == [path.read_bytes() for path in again]


def test_a_ladder_that_rises_again_is_reported(trained):
    record = scored(trained, "ladder-white")
    worse = {"relative": 0.5, "relative_low": 0.4, "relative_high": 0.6}
    better = {"relative": 0.1, "relative_low": 0.05, "relative_high": 0.2}
    changed = []
    for item in record.conditions:
        values = better if item.condition == "white-0db" else worse
        (score,) = item.scores
        changed.append(item.model_copy(update={"scores": (score.model_copy(update=values),)}))
    found, pairs = breaks([record.model_copy(update={"conditions": tuple(changed)})])
    assert pairs == 3
    assert [(item.milder, item.severer) for item in found] == [("white-5db", "white-0db")]


def test_reasons_found_by_people_are_read(tmp_path):
    assert read_reasons(tmp_path) == {}
    (tmp_path / "reasons.yaml").write_text("fbank tone white-0db: it says one thing only\n")
    assert read_reasons(tmp_path) == {"fbank tone white-0db": "it says one thing only"}


def test_every_break_on_the_committed_page_has_a_reason():
    results = ROOT / "leaderboard" / "results"
    reasons = read_reasons(results / "quick")
    found = [item for some in read_scored(results, "quick").values() for item in breaks(some)[0]]
    assert {f"{item.upstream} {item.task} {item.severer}" for item in found} == set(reasons)


@pytest.mark.corpus
def test_the_speed_of_every_effect_is_measured_on_the_corpus():
    speeds = {item.effect: item for item in measure_speed(paths.home(), utterances=4)}
    conditions = catalogue().conditions.values()
    effects = {step.effect for item in conditions if len(item.steps) == 1 for step in item.steps}
    assert speeds.keys() == effects | {"reverb, new rooms"}
    for item in speeds.values():
        assert item.effect.startswith(condition(item.example).steps[0].effect)
        assert 0 < item.ratio < float("inf")


def test_scores_under_conditions_come_again_from_the_predictions(trained):
    path = evaluate(trained.toy, "voice").path
    record = score_one(path, "white-5db,white-5db@test-only", trained.session)
    assert rescore_conditions(record, path, trained.session).differing == []
    first = record.conditions[0]
    wrong = first.scores[0].model_copy(update={"value": 0.123})
    altered = first.model_copy(update={"scores": (wrong, *first.scores[1:])})
    changed = record.model_copy(update={"conditions": (altered, record.conditions[1])})
    assert rescore_conditions(changed, path, trained.session).differing == ["white-5db"]
    file = path.with_suffix("") / "predictions" / "white-5db.jsonl"
    file.write_text(file.read_text().replace("0.", "1.", 1))
    with pytest.raises(InvalidDataError, match="altered"):
        rescore_conditions(record, path, trained.session)


def test_a_whole_set_is_drawn_together_with_clean(trained):
    members = catalogue().sets["ladder-white"]
    record = scored(trained, f"ladder-white,{catalogue().sets['ladder-reverb'][0]}")
    (mean,) = rescore_conditions(record, trained.path, trained.session).draws
    assert (mean.condition, mean.metric) == ("ladder-white", "accuracy")
    values = mean.draws.values
    parts = []
    for name in members:
        file = trained.path.with_suffix("") / "predictions" / f"{name}.jsonl"
        predictions, _ = read_predictions(file)
        test = condition_set(condition(name), record, trained.session)
        items = METRICS["accuracy"].per_item(predictions, test.utterances, test.trials)
        parts.append(replicates(items, cluster="utterance"))
    assert values == pytest.approx(np.mean(parts, axis=0), abs=1 / 16384)
    fewer = record.model_copy(update={"conditions": record.conditions[:-1]})
    assert record.conditions[-1].condition in members
    assert rescore_conditions(fewer, trained.path, trained.session).draws == []
