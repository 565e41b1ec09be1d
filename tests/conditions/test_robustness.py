"""Score trained heads under conditions, without training, and compute the scores again."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from toy_track import evaluate, rows
from toys import make_utterances
from trained_toy import score_one, scored

from bench import registry
from bench.conditions import scorer
from bench.conditions.catalogue import expand
from bench.conditions.distorter import Distorter
from bench.conditions.scorer import score_conditions
from bench.conditions.sets import TEST_SIDE, condition_set, shared_pass
from bench.engine import Engine
from bench.errors import InvalidDataError, MissingError, UsageError
from bench.features import passes
from bench.features.store import FeatureStore
from bench.identity import PASS_REVISION, features_key
from bench.probe.fit import Trainer
from bench.records.record import read_record, write_record
from bench.run import artifacts, run
from bench.run.evaluate import read_predictions
from bench.run.spec import RunSpec
from bench.session import Session
from bench.sound.manifests import write_table


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
        assert score.low <= score.value <= score.high
        assert score.chance == before.score().chance
    assert before.comparable()["scores"] == record.comparable()["scores"]


def test_a_scored_condition_is_scored_again_only_by_force(trained, monkeypatch):
    first = scored(trained, "white-5db")
    with monkeypatch.context() as patch:
        patch.setattr(scorer, "Scorer", lambda *_: pytest.fail("scored again"))
        assert scored(trained, "white-5db") == first
    assert scored(trained, "white-5db", force=True) == first


def test_an_interrupted_command_continues(trained, monkeypatch):
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


def test_features_of_a_condition_are_kept_by_default(trained):
    def shards():
        return set((trained.toy.home / "features").rglob("*.npy"))

    before = shards()
    scored(trained, "white-5db", keep_features=False)
    assert shards() == before
    assert not list(trained.toy.home.glob(".features-*"))
    scored(trained, "white-10db")
    assert len(shards()) > len(before)


def test_a_condition_is_computed_as_the_record_was(trained, monkeypatch):
    """Clean and distorted are compared, so both use the precision of the record."""
    path = evaluate(trained.toy, "tone", force=True, engine=Engine(precision="bf16")).path
    shards = {file.parent.name for file in (trained.toy.home / "features").rglob("*.npy")}
    scored(trained, "gsm")
    after = {file.parent.name for file in (trained.toy.home / "features").rglob("*.npy")}
    version = f"torch{torch.__version__}-r{PASS_REVISION}"
    assert shards == after == {f"pooled-{version}", f"pooled-bf16-{version}"}
    inputs = read_record(path).inputs
    store = FeatureStore(
        trained.toy.home / "features",
        features_key(inputs.upstream_sha256, inputs.fingerprint),
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
    paths = [evaluate(trained.toy, "tone", seed=seed).path for seed in (0, 1)]
    other = run.run_seeds(
        RunSpec("fbank+untrained:7", "tone", "toy"),
        (0,),
        Session(home=trained.toy.home, out=trained.toy.out),
    )
    paths.append(other[0].path)
    names = "white-5db,gsm"
    alone = [score_one(path, names, trained.session, keep_features=False) for path in paths]
    distorted, passed = Counter(), Counter()
    distort, forward = Distorter.__call__, passes.forward_bucket

    def counted(self, item):
        distorted[self.condition.name, item.id] += 1
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
    together = score_conditions(paths, names, trained.session, force=True, keep_features=keep)
    assert loads == {"fbank": 1, "fbank+untrained:7": 1}
    assert [record.comparable() for record in together] == [item.comparable() for item in alone]
    assert [read_record(path) for path in paths] == together
    count = together[0].conditions[0].scores[0].n
    assert distorted == Counter({key: 1 for key in distorted}) and len(distorted) == 2 * count
    assert passed.total() == 2 * 2 * count  # conditions x upstreams


def test_tasks_on_the_same_utterances_share_their_pass(trained, monkeypatch):
    """Means come from the pass that keeps frames, whichever task is named first."""
    card = registry.TASKS / "toy" / "tone.yaml"
    card.write_text(card.read_text().replace("clean: test", "clean: dev"))
    paths = [evaluate(trained.toy, task, force=True).path for task in ("tone", "voice")]
    alone = [score_one(p, "white-5db", trained.session, keep_features=False) for p in paths]
    passed: Counter[int] = Counter()
    forward = passes.forward_bucket
    monkeypatch.setattr(
        passes, "forward_bucket", lambda *a: passed.update([len(a[1])]) or forward(*a)
    )
    monkeypatch.setattr(scorer, "seconds_per_audio_second", lambda *_: 0.1)  # it passes sounds
    together = score_conditions(
        paths, "white-5db", trained.session, force=True, keep_features=False
    )
    assert [record.comparable() for record in together] == [item.comparable() for item in alone]
    assert together[0].conditions[0].scores[0].n == 16
    assert passed.total() == 16


def test_shared_sound_is_exact(tmp_path):
    """Sound is cached in 16 bits where that is exact, else as float32."""
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


def test_noise_of_a_folder_is_used_and_its_faults_are_reported(trained, tmp_path):
    session = Session(home=trained.toy.home, noise_dir=tmp_path)
    with pytest.raises(MissingError, match=r"give the folder .* with --noise-dir"):
        scored(trained, "own-noise")
    with pytest.raises(MissingError, match=r"noise folder: no folder/"):
        score_one(trained.path, "own-noise", session)
    (tmp_path / "folder").mkdir()
    make_utterances(tmp_path / "folder", 3, seed=9)
    stereo = np.random.default_rng(0).normal(size=(44_100, 2)) * 0.1
    soundfile.write(tmp_path / "folder" / "stereo.wav", stereo, 44_100)
    record = score_one(trained.path, "own-noise", session)
    assert record.conditions[0].condition == "own-noise"


def test_a_missing_or_other_head_is_refused(trained):
    head = trained.path.with_suffix("") / "head.safetensors"
    content = head.read_bytes()
    head.write_bytes(content[:-20])
    with pytest.raises(InvalidDataError, match="altered"):
        scored(trained, "gsm")
    record = read_record(trained.path)  # older records do not have the digest of the head
    older = record.head.model_copy(update={"sha256": None})
    write_record(record.model_copy(update={"head": older}), trained.path)
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
    record = read_record(trained.path)
    inputs = record.inputs.model_copy(update={"upstream_sha256": "0" * 64})
    write_record(record.model_copy(update={"inputs": inputs}), trained.path)
    with pytest.raises(InvalidDataError, match="made with another fbank"):
        scored(trained, "gsm")
    write_record(record, trained.path)
    corpus = trained.toy.corpus
    write_table(corpus, "test", rows(corpus, make_utterances(corpus / "audio", 8, 2)))
    with pytest.raises(InvalidDataError, match="another manifest of 'clean'"):
        scored(trained, "gsm")


def test_unknown_and_impossible_conditions_are_refused_before_anything(trained):
    for names, message in [("gms", "did you mean 'gsm'"), ("gsm@test-only", "has no trials")]:
        with pytest.raises(UsageError, match=message):
            scored(trained, names)


def test_a_head_is_loaded_as_it_was_saved(trained):
    record = read_record(trained.path)
    one = artifacts.load_run(trained.path, record, trained.session)
    again = artifacts.load_head(one.resolved, trained.path, record)
    first, second = one.probe.state_dict(), again.state_dict()
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[key], second[key]) for key in first)
