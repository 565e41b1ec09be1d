"""Trained heads under conditions: nothing is trained, everything can be counted again."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from test_run import evaluate, toy  # noqa: F401
from toys import make_utterances

from bench import paths, registry
from bench.conditions import scorer, sets
from bench.conditions.catalogue import catalogue, condition, expand
from bench.conditions.distorter import Distorter
from bench.conditions.report import condition_table, sets_of, summary
from bench.conditions.scorer import score_conditions
from bench.conditions.scores import rescore_conditions
from bench.conditions.sets import TEST_SIDE, condition_set, shared_pass
from bench.engine import Engine
from bench.errors import InvalidDataError, MissingError, UsageError
from bench.features import passes
from bench.features.store import FeatureStore
from bench.metrics.degradation import relative_degradation
from bench.metrics.items import Items
from bench.metrics.metric import METRICS
from bench.metrics.resamples import replicates, resample
from bench.probe.fit import Trainer
from bench.records.record import read_record
from bench.registry import ROOT
from bench.run import artifacts, job, run, spec
from bench.run.evaluate import read_predictions
from bench.run.spec import RunSpec
from bench.session import Session
from bench.sound.manifests import write_table
from tools.benchmarks.distortion_speed import measure_speed
from tools.pages.conditions import breaks, read_reasons, read_scored, write_page


@pytest.fixture
def trained(toy, monkeypatch):  # noqa: F811
    """A finished run on tones, and how to score it."""
    module = spec.corpus_module("toy")
    for user in (spec, sets):
        monkeypatch.setattr(user, "corpus_module", lambda name: module)
    monkeypatch.setattr(artifacts, "load_upstream", job.load_upstream)
    path = evaluate(toy, "tone").path
    return SimpleNamespace(toy=toy, path=path, session=Session(home=toy.home))


def scored(trained, names, **options):
    return score_one(trained.path, names, trained.session, **options)


def score_one(path, names, session, **options):
    (record,) = score_conditions([path], names, session, **options)
    return record


def test_a_head_is_scored_under_conditions_and_not_trained(trained, monkeypatch):
    monkeypatch.setattr(Trainer, "run", lambda *_: pytest.fail("trained"))
    before = read_record(trained.path)
    record = scored(trained, "ladder-white,gsm")
    assert read_record(trained.path) == record
    assert [item.condition for item in record.conditions] == [
        "gsm", "white-0db", "white-10db", "white-20db", "white-5db",
    ]  # fmt: skip
    assert record.model_copy(update={"conditions": ()}) == before
    for item in record.conditions:
        (score,) = item.scores
        assert score.value == score.numerator / score.denominator
        assert score.n == 16
        clean = before.score().value
        assert score.relative == pytest.approx((clean - score.value) / clean)
        assert score.relative_low <= score.relative <= score.relative_high
    assert before.comparable()["scores"] == record.comparable()["scores"]


def test_what_is_scored_is_not_scored_again_and_forced_comes_out_the_same(trained, monkeypatch):
    first = scored(trained, "white-5db")
    with monkeypatch.context() as patch:
        patch.setattr(scorer, "Scorer", lambda *_: pytest.fail("scored again"))
        assert scored(trained, "white-5db") == first
    assert scored(trained, "white-5db", force=True) == first


def test_an_interrupted_command_goes_on(trained, monkeypatch):
    whole = scored(trained, "ladder-white")
    fresh = evaluate(trained.toy, "tone", force=True)
    assert not fresh.record.conditions
    real, done = scorer.predict, []

    def dies_at_the_third(*arguments):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(0)
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(scorer, "predict", dies_at_the_third)
        with pytest.raises(KeyboardInterrupt):
            scored(trained, "ladder-white")
    assert len(read_record(trained.path).conditions) == 2
    assert scored(trained, "ladder-white").comparable() == whole.comparable()


def test_features_of_a_condition_are_kept_unless_they_should_not(trained):
    def shards():
        return set((trained.toy.home / "features").rglob("*.npy"))

    before = shards()
    scored(trained, "white-5db", keep_features=False)
    assert shards() == before
    assert not list(trained.toy.home.glob(".features-*"))
    scored(trained, "white-10db")
    assert len(shards()) > len(before)


def test_a_condition_is_computed_as_the_record_was(trained, monkeypatch):
    """In its precision, and on the device that is asked for: clean and distorted are compared."""
    path = evaluate(trained.toy, "tone", force=True, engine=Engine(precision="bf16")).path
    shards = {file.parent.name for file in (trained.toy.home / "features").rglob("*.npy")}
    scored(trained, "gsm")
    after = {file.parent.name for file in (trained.toy.home / "features").rglob("*.npy")}
    version = f"torch{torch.__version__}"
    assert shards == after == {f"pooled-{version}", f"pooled-bf16-{version}"}
    store = FeatureStore(
        trained.toy.home / "features",
        read_record(path).inputs.upstream_sha256,
        "pooled",
        engine=Engine(precision="bf16"),
    )
    record = read_record(path)
    (item,) = expand("gsm", registry.task_card("tone", "toy"))
    distorted = condition_set(item, record, trained.session).utterances
    assert store.missing(distorted) == []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(MissingError, match=r"--device cuda: .* finds no GPU"):
        score_one(trained.path, "mulaw", replace(trained.session, engine=Engine(device="cuda")))


def test_records_of_two_precisions_share_no_upstream(trained, monkeypatch):
    """Weights that are packed for float32 would compute in float32 for the other as well."""
    exact = evaluate(trained.toy, "tone", seed=0).path
    rough = evaluate(trained.toy, "tone", seed=1, engine=Engine(precision="bf16")).path
    loaded, load = [], artifacts.load_upstream
    monkeypatch.setattr(
        artifacts, "load_upstream", lambda name, session: loaded.append(name) or load(name, session)
    )
    score_conditions([exact, rough], "gsm", trained.session)
    assert loaded == ["fbank", "fbank"]


def test_another_test_set_is_a_condition_too(trained):
    record = scored(trained, "drascula")
    (item,) = record.conditions
    assert item.scores[0].value == record.score("ood").value
    assert item.sha256 == record.inputs.manifests["ood"]


def test_speaker_verification_distorts_both_sides_or_one(trained):
    path = evaluate(trained.toy, "voice").path
    record = score_one(path, "white-5db,white-5db@test-only", trained.session)
    both, one = record.conditions
    assert (both.condition, one.condition) == ("white-5db", "white-5db@test-only")
    folder = path.with_suffix("") / "predictions"
    clean = read_predictions(folder / "clean.jsonl")[0]
    one_side = read_predictions(folder / "white-5db@test-only.jsonl")[0]
    both_sides = read_predictions(folder / "white-5db.jsonl")[0]
    assert {name for name in one_side if not name.endswith(TEST_SIDE)} <= set(clean)
    for name, embedding in one_side.items():
        expected = both_sides[name.removesuffix(TEST_SIDE)]
        if not name.endswith(TEST_SIDE):
            expected = clean[name]
        np.testing.assert_allclose(embedding, expected, atol=1e-4)
    assert both.scores[0].n == one.scores[0].n == record.score().n
    assert {score.metric for score in one.scores} == {"eer", "min_dcf"}


@pytest.mark.parametrize("keep", [True, False])
def test_heads_scored_together_share_sound_and_features(trained, monkeypatch, keep):
    """Two seeds and another upstream: as alone, and every sound is distorted once."""
    found = [evaluate(trained.toy, "tone", seed=seed).path for seed in (0, 1)]
    other = run.run_seeds(
        RunSpec("fbank+untrained:7", "tone", "toy"),
        (0,),
        Session(home=trained.toy.home, out=trained.toy.out),
    )
    found.append(other[0].path)
    names = "white-5db,gsm"
    alone = [score_one(path, names, trained.session, keep_features=False) for path in found]
    made, passed = Counter(), Counter()
    distort, forward = Distorter.__call__, passes.forward_bucket

    def counted(self, item):
        made[self.condition.name, item.id] += 1
        return distort(self, item)

    def heard(module, wavs, engine):
        passed[len(wavs)] += len(wavs)
        return forward(module, wavs, engine)

    monkeypatch.setattr(Distorter, "__call__", counted)
    monkeypatch.setattr(passes, "forward_bucket", heard)
    monkeypatch.setattr(scorer, "seconds_per_audio_second", lambda *_: 0.1)  # it passes sounds
    loads: Counter[str] = Counter()
    load = artifacts.load_upstream
    monkeypatch.setattr(
        artifacts,
        "load_upstream",
        lambda name, session: loads.update([name]) or load(name, session),
    )
    together = score_conditions(found, names, trained.session, force=True, keep_features=keep)
    assert loads == {"fbank": 1, "fbank+untrained:7": 1}
    assert [record.comparable() for record in together] == [item.comparable() for item in alone]
    assert [read_record(path) for path in found] == together
    count = together[0].conditions[0].scores[0].n
    assert made == Counter({key: 1 for key in made}) and len(made) == 2 * count
    assert passed.total() == 2 * 2 * count  # conditions x upstreams


def test_tasks_on_the_same_utterances_share_their_pass(trained, monkeypatch):
    """Means come from the pass that keeps frames, whichever task is named first."""
    card = registry.TASKS / "toy" / "tone.yaml"
    card.write_text(card.read_text().replace("clean: test", "clean: dev"))
    found = [evaluate(trained.toy, task, force=True).path for task in ("tone", "voice")]
    alone = [score_one(p, "white-5db", trained.session, keep_features=False) for p in found]
    passed: Counter[int] = Counter()
    forward = passes.forward_bucket
    monkeypatch.setattr(
        passes, "forward_bucket", lambda *a: passed.update([len(a[1])]) or forward(*a)
    )
    monkeypatch.setattr(scorer, "seconds_per_audio_second", lambda *_: 0.1)  # it passes sounds
    together = score_conditions(
        found, "white-5db", trained.session, force=True, keep_features=False
    )
    assert [record.comparable() for record in together] == [item.comparable() for item in alone]
    assert together[0].conditions[0].scores[0].n == 16
    assert passed.total() == 16


def test_kept_sound_is_the_sound(tmp_path):
    """In 16 bits where that is exact, else as it is."""
    rng = np.random.default_rng(0)
    fine = rng.uniform(-1, 1, 100).astype(np.float32)
    whole = np.array([-1.0, 32_767 / 32_768, 0.0, 0.5], dtype=np.float32)
    for wav in (fine, whole, whole[1:], np.zeros(3, np.float32)):
        item = SimpleNamespace(key="a")
        calls = []
        with shared_pass(tmp_path, keep_features=False, alone=False) as shared:
            once = shared.once(lambda _, wav=wav, calls=calls: calls.append(1) or wav)
            for _ in range(2):
                heard = once(item)
                assert heard.dtype == np.float32 and np.array_equal(heard, wav)
            assert calls == [1]
            assert shared.root.is_dir()
        assert not shared.root.exists()


def test_noise_of_a_folder_is_used_and_its_faults_are_told(trained, tmp_path):
    session = Session(home=trained.toy.home, noise_dir=tmp_path)
    with pytest.raises(MissingError, match=r"give the folder .* with --noise-dir"):
        scored(trained, "own-noise")
    with pytest.raises(MissingError, match=r"noise folder: no folder/"):
        score_one(trained.path, "own-noise", session)
    (tmp_path / "folder").mkdir()
    make_utterances(tmp_path / "folder", 3, seed=9)
    record = score_one(trained.path, "own-noise", session)
    assert record.conditions[0].condition == "own-noise"


def test_a_head_that_is_gone_or_another_is_refused(trained):
    head = trained.path.with_suffix("") / "head.safetensors"
    content = head.read_bytes()
    head.write_bytes(content[:-20])
    with pytest.raises(InvalidDataError, match="not a file of tensors"):
        scored(trained, "gsm")
    voice = evaluate(trained.toy, "voice").path.with_suffix("") / "head.safetensors"
    head.write_bytes(voice.read_bytes())
    with pytest.raises(InvalidDataError, match="another head than the run's"):
        scored(trained, "gsm")
    head.unlink()
    with pytest.raises(MissingError, match="no trained head"):
        scored(trained, "gsm")


def test_another_upstream_or_test_set_than_the_records_is_refused(trained):
    data = json.loads(trained.path.read_text())
    data["inputs"]["upstream_sha256"] = "0" * 64
    trained.path.write_text(json.dumps(data))
    with pytest.raises(InvalidDataError, match="made with another fbank"):
        scored(trained, "gsm")
    trained.path.write_text(
        json.dumps(data | {"inputs": data["inputs"] | {"upstream_sha256": "d" * 64}})
    )
    corpus = trained.toy.corpus
    from test_run import rows

    write_table(corpus, "test", rows(corpus, make_utterances(corpus / "audio", 8, 2)))
    with pytest.raises(InvalidDataError, match="another manifest of 'clean'"):
        scored(trained, "gsm")


def test_unknown_and_impossible_conditions_are_refused_before_anything(trained):
    for names, message in [("gms", "did you mean 'gsm'"), ("gsm@test-only", "has no trials")]:
        with pytest.raises(UsageError, match=message):
            scored(trained, names)


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


def test_the_teacher_stands_beside(trained, monkeypatch):
    scored(trained, "gsm")
    student = trained.path.parent.with_name("distilhubert")
    student.mkdir()
    data = json.loads(trained.path.read_text())
    (student / trained.path.name).write_text(json.dumps(data | {"upstream": "distilhubert"}))
    teacher = registry.upstream_card("distilhubert").teacher
    trained.path.parent.rename(trained.path.parent.with_name(teacher))
    path = student / trained.path.name
    assert f"teacher {data['upstream']}" in condition_table(read_record(path), path)


def items(numerators):
    count = len(numerators)
    names = np.array([f"u{index}" for index in range(count)])
    return Items(names, np.array(numerators, float), np.ones(count), names)


def test_relative_degradation_is_paired_and_signed():
    clean, worse = (resample(items([1] * n + [0] * (100 - n)), "utterance") for n in (80, 60))
    found = relative_degradation(worse, clean, higher_is_better=True)
    assert found.difference == pytest.approx(0.25)
    assert found.low > 0
    errors = relative_degradation(worse, clean, higher_is_better=False)
    assert errors.difference == pytest.approx(-0.25)
    same = relative_degradation(clean, clean, higher_is_better=True)
    assert (same.low, same.difference, same.high) == (0, 0, 0)
    other = resample(items([1] * 60 + [0] * 40), "utterance", seed=1)
    apart = relative_degradation(other, clean, higher_is_better=True)
    assert apart.high - apart.low > found.high - found.low
    nothing = resample(items([0] * 100), "utterance")
    assert relative_degradation(worse, nothing, higher_is_better=True) is None


def test_a_head_is_loaded_as_it_was_saved(trained):
    record = read_record(trained.path)
    one = artifacts.load_run(trained.path, record, trained.session)
    head = trained.path.with_suffix("") / "head.safetensors"
    first, second = one.probe.state_dict(), artifacts.load_head(one.resolved, head).state_dict()
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[key], second[key]) for key in first)


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


def test_a_ladder_that_rises_again_is_told(trained):
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
    (found,) = rescore_conditions(record, trained.path, trained.session).draws
    assert (found.condition, found.metric) == ("ladder-white", "accuracy")
    values = found.draws.values
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
