"""A whole run on a toy corpus: done means done, interrupted goes on, every number comes again."""

import json
import re
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from toy_track import evaluate, evaluate_seeds, rows
from toys import make_utterances

from bench import registry
from bench.engine import Engine
from bench.errors import InvalidDataError, MissingError, UsageError
from bench.records.record import dumps, read_record
from bench.run import artifacts, job, spec
from bench.run.artifacts import rescore
from bench.run.spec import RunSpec
from bench.session import Session
from bench.sound.manifests import write_table


def test_a_run_gives_a_record_with_counts_and_intervals(toy):
    outcome = evaluate(toy)
    record = read_record(outcome.path)
    assert record == outcome.record
    assert [(s.condition, s.metric, s.n) for s in record.scores] == [
        ("clean", "accuracy", 16),
        ("ood", "accuracy", 16),
    ]
    clean = record.score()
    assert clean.value == clean.numerator / clean.denominator
    assert clean.low <= clean.value <= clean.high
    assert record.selection.lr in (1e-2, 1e-3)
    assert len(record.selection.grid) == 2
    assert abs(sum(record.head.layer_weights) - 1) < 1e-6
    assert record.weights == "none"


def test_the_same_run_is_done_and_forced_it_gives_the_same_record(toy):
    first = evaluate(toy)
    again = evaluate(toy)
    assert again.was_done
    assert again.record == first.record
    forced = evaluate(toy, force=True)
    assert not forced.was_done
    assert forced.record.comparable() == first.record.comparable()


def test_other_options_are_other_runs(toy):
    paths = {
        evaluate(toy).path.name,
        evaluate(toy, seed=1).path.name,
        evaluate(toy, lr=1e-3).path.name,
        evaluate(toy, shuffle_labels=True).path.name,
        evaluate(toy, limit=8).path.name,
    }
    assert len(paths) == 5
    assert evaluate(toy, limit=8).record.limit == 8


@pytest.mark.parametrize("stage", ["extract", "train", "predict_tests", "score_tests"])
def test_killed_at_any_stage_the_next_run_ends_with_the_same_record(toy, monkeypatch, stage):
    whole = evaluate(replace_out(toy, "whole"))

    def dies(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(job, stage, dies)
        with pytest.raises(KeyboardInterrupt):
            evaluate(toy)
    resumed = evaluate(toy)
    assert not resumed.was_done
    assert resumed.record.comparable() == whole.record.comparable()


def replace_out(toy, name):
    return SimpleNamespace(home=toy.home, out=toy.out.with_name(name), corpus=toy.corpus)


def test_a_changed_manifest_is_another_run_and_the_older_record_is_kept(toy):
    first = evaluate(toy)
    items = make_utterances(toy.corpus / "audio", 12, 2)
    write_table(toy.corpus, "test", rows(toy.corpus, items))
    second = evaluate(toy)
    assert not second.was_done
    assert second.record.score().n == 12
    kept = list(first.path.parent.glob("*.json.old"))
    assert len(kept) == 1
    assert read_record(kept[0]) == first.record


def test_a_replaced_run_keeps_its_predictions_beside_its_record(toy):
    first = evaluate(toy)
    files = {"head.safetensors", "predictions/clean.jsonl", "predictions/ood.jsonl"}
    before = {name: (first.path.with_suffix("") / name).read_bytes() for name in files}
    write_table(toy.corpus, "dev", rows(toy.corpus, make_utterances(toy.corpus / "audio", 10, 1)))
    assert not evaluate(toy).was_done
    (kept,) = first.path.parent.glob("*.json.old")
    folder = kept.with_name(kept.name.removesuffix(".json.old"))
    assert {name: (folder / name).read_bytes() for name in files} == before


@pytest.mark.parametrize("precisions", [("bf16", "float32"), ("float32", "bf16")])
def test_a_run_with_another_engine_is_refused_unless_it_is_forced(toy, precisions):
    first, second = (Engine(precision=precision) for precision in precisions)
    done = evaluate(toy, engine=first)
    assert evaluate(toy, engine=replace(first, workers=1, bucket_seconds=2.0)).was_done
    was, now = (f"precision {precision}" for precision in precisions)
    with pytest.raises(UsageError, match=rf"tone-s0\.json: .* {was}, .* {now}: .* --force$"):
        evaluate(toy, engine=second)
    assert read_record(done.path) == done.record
    other = evaluate(toy, engine=second, force=True)
    assert other.record.provenance.precision == precisions[1]
    alone = evaluate(replace_out(toy, "alone"), engine=second)
    assert other.record.comparable() == alone.record.comparable()
    assert evaluate(toy, engine=second).was_done


def test_another_torch_is_another_engine(toy, monkeypatch):
    evaluate(toy)
    real = torch.__version__
    monkeypatch.setattr(torch, "__version__", "9.9.9")
    with pytest.raises(UsageError, match=rf"torch {re.escape(real)}, this one has torch 9\.9\.9"):
        evaluate(toy)


def test_other_states_of_the_same_files_are_another_run(toy, monkeypatch):
    """Such as a file that the model's code opens: its digest is the same."""
    first, load = evaluate(toy), job.load_upstream

    def trained(text, session=None):
        loaded = load(text, session)
        with torch.no_grad():
            loaded.upstream.first.weight.mul_(1.5)
        return loaded

    monkeypatch.setattr(job, "load_upstream", trained)
    second = evaluate(toy)
    assert not second.was_done and evaluate(toy).was_done
    assert second.record.provenance.spec == first.record.provenance.spec
    assert second.record.inputs.fingerprint != first.record.inputs.fingerprint
    assert len({path.parent for path in (toy.home / "features").glob("*/pooled-torch*")}) == 2
    monkeypatch.setattr(artifacts, "load_upstream", load)
    with pytest.raises(InvalidDataError, match="the same files and other hidden states"):
        artifacts.load_run(second.path, second.record, Session(home=toy.home, out=toy.out))


@pytest.mark.parametrize("task", ["tone", "voice"])
def test_seeds_together_give_the_records_of_each_alone(toy, task):
    alone = [evaluate(replace_out(toy, "alone"), task, seed=seed) for seed in (0, 2)]
    both = evaluate_seeds(toy, (0, 2), task)
    for one, other in zip(alone, both, strict=True):
        assert one.path.name == other.path.name
        assert [s.value for s in one.record.scores] == [s.value for s in other.record.scores]
        assert one.record.selection.step == other.record.selection.step
        assert one.record.head.layer_weights == pytest.approx(other.record.head.layer_weights)


def test_only_the_seeds_that_are_missing_are_trained(toy, monkeypatch):
    first = evaluate(toy, seed=1)
    trained = []
    train = job.train

    def watched(features, runs, *rest):
        trained.extend(resolved.spec.seed for resolved in runs)
        return train(features, runs, *rest)

    monkeypatch.setattr(job, "train", watched)
    outcomes = evaluate_seeds(toy, (0, 1, 2))
    assert trained == [0, 2]
    assert [outcome.was_done for outcome in outcomes] == [False, True, False]
    assert outcomes[1].record == first.record


@pytest.mark.parametrize("stage", ["train", "predict_tests", "write_record"])
def test_seeds_killed_together_end_with_the_same_records(toy, monkeypatch, stage):
    whole = evaluate_seeds(replace_out(toy, "whole"), (0, 1))
    calls = []

    def dies_at_the_second(*args, **options):
        calls.append(args)
        if len(calls) == (1 if stage == "train" else 2):
            raise KeyboardInterrupt
        return original(*args, **options)

    original = getattr(job, stage)
    with monkeypatch.context() as patch:
        patch.setattr(job, stage, dies_at_the_second)
        with pytest.raises(KeyboardInterrupt):
            evaluate_seeds(toy, (0, 1))
    resumed = evaluate_seeds(toy, (0, 1))
    for one, other in zip(whole, resumed, strict=True):
        assert one.record.comparable() == other.record.comparable()


@pytest.mark.parametrize("task", ["tone", "voice"])
def test_a_budget_too_small_streams_and_gives_the_same_record(toy, task):
    kept = evaluate(replace_out(toy, "kept"), task)
    other = SimpleNamespace(home=toy.home, out=toy.out, corpus=toy.corpus)
    shutil.rmtree(toy.home / "features")
    streamed = evaluate(other, task, store_gb=0.0)
    assert not list((toy.home / "features").glob("*/*/*.npy"))
    assert streamed.record.comparable() == kept.record.comparable()


def test_scores_come_again_from_the_predictions(toy):
    for task in ("tone", "voice"):
        outcome = evaluate(toy, task)
        record, scores = rescore(outcome.path, toy.home)
        assert scores == record.scores


def test_altered_predictions_and_manifests_are_found(toy):
    outcome = evaluate(toy)
    file = outcome.path.with_suffix("") / "predictions" / "clean.jsonl"
    text = file.read_text()
    file.write_text(text.replace('"low"', '"high"', 1))
    with pytest.raises(InvalidDataError, match="altered"):
        rescore(outcome.path, toy.home)
    file.write_text(text)
    write_table(toy.corpus, "test", rows(toy.corpus, make_utterances(toy.corpus / "audio", 4, 2)))
    with pytest.raises(InvalidDataError, match="another manifest"):
        rescore(outcome.path, toy.home)
    file.unlink()
    write_table(toy.corpus, "test", rows(toy.corpus, make_utterances(toy.corpus / "audio", 16, 2)))
    with pytest.raises(MissingError, match="no predictions"):
        rescore(outcome.path, toy.home)


def test_speaker_verification_scores_trials(toy):
    record = evaluate(toy, "voice").record
    eer = record.score("clean", "eer")
    assert eer.n == 16 * 15 // 2
    assert eer.numerator is None
    assert 0 <= eer.value <= 1


def test_shuffling_permutes_only_the_training_targets(toy):
    card = registry.task_card("tone", "toy")
    plain = spec.read_tables(card, toy.home, RunSpec("fbank", "tone", "toy"))
    asked = RunSpec("fbank", "tone", "toy", shuffle_labels=True)
    shuffled = spec.read_tables(card, toy.home, asked)
    before = [item.target for item in plain["train"].utterances]
    after = [item.target for item in shuffled["train"].utterances]
    assert before != after
    assert sorted(before) == sorted(after)
    assert all(plain[name] == shuffled[name] for name in ("dev", "clean", "ood"))


@pytest.mark.parametrize("options", [{"seed": -1}, {"lr": 0.0}, {"lr": -1.0}, {"limit": 1}])
def test_nonsense_options_are_refused(options):
    with pytest.raises(UsageError, match="expected"):
        RunSpec("fbank", "ks", **options)


def test_broken_records_are_refused(toy, tmp_path):
    outcome = evaluate(toy)
    path = tmp_path / "record.json"
    data = json.loads(dumps(outcome.record))
    for change in ({"scores": 3}, {"surprise": 1}, {"seed": "0"}, {"weights": "trained"}):
        path.write_text(json.dumps(data | change))
        with pytest.raises(InvalidDataError, match="not a record"):
            read_record(path)
    path.write_text(dumps(outcome.record).replace(str(outcome.record.score().value), "NaN", 1))
    with pytest.raises(InvalidDataError, match="not a record"):
        read_record(path)
    path.write_text("{")
    with pytest.raises(InvalidDataError, match="not a record"):
        read_record(path)


def test_a_limited_run_keeps_both_kinds_of_trials(toy):
    card = registry.task_card("voice", "toy")
    tables = spec.read_tables(card, toy.home, RunSpec("fbank", "voice", "toy", limit=8))
    assert {trial.label for trial in tables["clean"].trials} == {0, 1}


def test_the_digest_names_everything_that_matters(toy):
    base = RunSpec("fbank", "tone", "toy")
    card, loaded = registry.task_card("tone", "toy"), job.load_upstream("fbank")
    digests = {
        spec.resolve_run(item, chosen, from_, toy.home).key({})
        for item, chosen, from_ in [
            (base, card, loaded),
            (replace(base, seed=1), card, loaded),
            (base, card.model_copy(update={"version": 2}), loaded),
            (base, card, replace(loaded, digest="e" * 64)),
        ]
    }
    assert len(digests) == 4
