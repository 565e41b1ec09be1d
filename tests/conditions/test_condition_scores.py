"""Report scores under conditions, and compute them again from predictions."""

from __future__ import annotations

import json

import numpy as np
import pytest
from toy_track import evaluate
from trained_toy import score_one, scored

from bench import paths
from bench.conditions.catalogue import catalogue, condition
from bench.conditions.report import condition_report, degradation_of, sets_of, summary
from bench.conditions.scores import rescore_conditions
from bench.conditions.sets import condition_set
from bench.errors import InvalidDataError
from bench.load.catalog import upstream_card
from bench.metrics.jackknife import jackknife
from bench.metrics.metric import METRICS
from bench.records.record import read_record
from bench.run.evaluate import read_predictions
from tools.benchmarks.h_distortions import measure_speed


def test_sets_have_a_mean_and_a_worst(trained):
    record = scored(trained, "ladder-white")
    assert sets_of(record) == {"ladder-white": [f"white-{n}db" for n in (20, 10, 5, 0)]}
    mean, worst, name = summary(record, sets_of(record)["ladder-white"], "accuracy")
    values = {
        item.condition: degradation_of(record, item.condition, "accuracy")
        for item in record.conditions
    }
    assert mean == pytest.approx(np.mean(list(values.values())))
    assert worst == values[name] == max(values.values())
    text = "\n".join(map(str, condition_report(record, trained.path)))
    assert "ladder-white" in text
    assert "16" in text


def test_the_teacher_has_a_column(trained, monkeypatch):
    scored(trained, "gsm")
    student = trained.path.parent.with_name("distilhubert")
    student.mkdir()
    data = json.loads(trained.path.read_text())
    del data["record_sha256"]
    (student / trained.path.name).write_text(json.dumps(data | {"upstream": "distilhubert"}))
    teacher = upstream_card("distilhubert").teacher
    trained.path.parent.rename(trained.path.parent.with_name(teacher))
    path = student / trained.path.name
    blocks = condition_report(read_record(path), path)
    assert f"by teacher {data['upstream']}" in "".join(map(str, blocks))


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


def test_every_distortion_comes_with_the_influence_of_its_items(trained):
    record = scored(trained, "ladder-white")
    found = rescore_conditions(record, trained.path, trained.session).distorted
    assert found.keys() == set(catalogue().sets["ladder-white"])
    for name, influences in found.items():
        file = trained.path.with_suffix("") / "predictions" / f"{name}.jsonl"
        predictions, _ = read_predictions(file)
        test = condition_set(condition(name), record, trained.session)
        items = METRICS["accuracy"].per_item(predictions, test.utterances, test.trials)
        assert np.array_equal(influences.changes, jackknife(items).changes)
