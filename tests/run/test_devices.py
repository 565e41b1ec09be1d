"""Passes, heads, conditions and recipes on every kind of device that this machine has."""

from dataclasses import replace

import pytest
import torch
from toy_track import evaluate
from toys import make_utterances, write_tone

from bench.conditions import sets
from bench.conditions.scorer import score_conditions
from bench.engine import Engine
from bench.features.store import FeatureStore
from bench.load.loader import load_upstream
from bench.make.compress import CompressionRequest, compress
from bench.records.record import read_record
from bench.run import artifacts, job, spec
from bench.session import Session

NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
pytestmark = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=NO_GPU)])


@pytest.mark.parametrize("name", ["house_wave", "house_whisper_distil", "house_whisper_ofa@min"])
def test_features_in_buckets_are_those_of_utterances_alone(tmp_path, device, name):
    """Padded, and on the other device: to 0.2 % of the largest value of a hidden state."""
    utterances, loaded = make_utterances(tmp_path, 6), load_upstream(name)
    reference = FeatureStore(tmp_path / "alone", loaded.digest, "frames")
    reference.extract(loaded.upstream, utterances)
    other = FeatureStore(
        tmp_path / "together", loaded.digest, "frames", engine=Engine(device, bucket_seconds=2.0)
    )
    other.extract(loaded.upstream, utterances)
    loaded.upstream.to("cpu")
    every = range(len(utterances))
    one, two = (store.read(utterances).rows(every) for store in (reference, other))
    assert torch.equal(one.lengths, two.lengths)
    largest = one.states.abs().amax(dim=(0, 2), keepdim=True)
    assert float(((one.states - two.states).abs() / largest).max()) < 0.002


def test_all_devices_of_a_kind_give_the_features_of_one(tmp_path, device):
    """To the last bit: the buckets are the same."""
    utterances, loaded = make_utterances(tmp_path, 24), load_upstream("house_whisper_distil")
    every, stores = Engine(device, bucket_seconds=1.0), []
    for engine in (every, replace(every, device=every.devices[0])):
        store = FeatureStore(tmp_path / f"{len(stores)}", loaded.digest, "frames", engine=engine)
        store.extract(loaded.upstream, utterances)
        stores.append(store.read(utterances).rows(range(len(utterances))))
    loaded.upstream.to("cpu")
    assert torch.equal(stores[0].states, stores[1].states)


def test_a_run_and_its_conditions_come_out_the_same_twice(toy, monkeypatch, device):
    module = spec.corpus_module("toy")
    for user in (spec, sets):
        monkeypatch.setattr(user, "corpus_module", lambda name: module)
    monkeypatch.setattr(artifacts, "load_upstream", job.load_upstream)
    engine, found = Engine(device, bucket_seconds=2.0), []
    for _ in range(2):
        path = evaluate(toy, "tone", force=True, engine=engine).path
        session = Session(home=toy.home, engine=engine)
        score_conditions([path], "gsm,white-5db", session, force=True)
        found.append(read_record(path).comparable())
    assert found[0] == found[1]
    assert len(found[0]["conditions"]) == 2


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["house_distil", "house_fbank", "house_ofa", "house_pruned60"])
def test_what_a_recipe_makes_is_an_upstream(tmp_path, device, recipe):
    """A few updates: what comes out is loaded from its card, with its own weights."""
    speech = tmp_path / "speech"
    speech.mkdir()
    for index in range(8):
        write_tone(speech, f"{index}", 200 + 90 * index, 24_000 + 3_000 * index, index)
    request = CompressionRequest(
        recipe,
        out=tmp_path / "run",
        data=str(speech),
        device=device,
        overrides={"hours": 0.005, "keep_targets": False},
    )
    card = compress(request, tmp_path)
    made = load_upstream(card.stem, Session(cards=[card]))
    assert made.provenance == "user"
    wavs = torch.randn(2, 16_000, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        hidden = made.upstream(wavs, torch.tensor([16_000, 16_000]))
    assert all(torch.isfinite(state).all() for state in hidden.states)
