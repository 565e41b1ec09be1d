"""The benchmarks: every one is found, and the work they count is what it should be."""

from importlib import import_module

import numpy as np
import pytest
import torch
from toys import ToyUpstream, hidden_states

from bench.engine import Engine
from bench.errors import UsageError
from bench.features.passes import upstream_pass
from bench.features.placement import buckets
from bench.features.store import FeatureStore, bytes_per_utterance
from tools.benchmarks import _page, f_official
from tools.benchmarks._paired import in_turn, spread

NAMES = ("reuse", "s3prl", "machine", "growth", "memory", "official", "crops", "lengths")


@pytest.fixture
def counted(monkeypatch):
    """Utterances and frames of every forward of the toy upstream."""
    calls = []
    forward = ToyUpstream.forward

    def counting(self, wavs, lengths):
        calls.append((len(wavs), wavs.shape[1] // 320 * len(wavs), int((lengths // 320).sum())))
        return forward(self, wavs, lengths)

    monkeypatch.setattr(ToyUpstream, "forward", counting)
    return calls


@pytest.mark.parametrize("name", NAMES)
def test_every_benchmark_is_found(name):
    module = import_module(f"tools.benchmarks.{_page.names()[name]}")
    assert module.TITLE
    assert callable(module.measure)


def test_an_unknown_benchmark_is_refused(tmp_path):
    with pytest.raises(UsageError, match="did you mean 'reuse'"):
        _page.page(tmp_path, only="reus")


def test_a_pass_is_one_forward_an_utterance_without_padding(
    tmp_path, toy_upstream, utterances, counted
):
    store = FeatureStore(tmp_path, "d" * 64, "frames")
    store.extract(toy_upstream, utterances)
    assert [utterances_in for utterances_in, _, _ in counted] == [1] * len(utterances)
    assert all(padded == real for _, padded, real in counted)
    sizes = [bytes_per_utterance(toy_upstream, "frames", item.num_samples) for item in utterances]
    header = 128
    shards = list(store.folder.glob("*.npy"))
    assert sum(path.stat().st_size for path in shards) == sum(sizes) + header * len(shards)
    FeatureStore(tmp_path, "d" * 64, "frames").extract(toy_upstream, utterances)
    assert len(counted) == len(utterances)


def test_buckets_hold_everything_once_and_little_padding(utterances):
    many = utterances * 20
    cut = buckets(many, 4.0)
    assert sorted(item.id for bucket in cut for item in bucket) == sorted(i.id for i in many)
    assert 1 < len(cut) < len(many) / 4
    for bucket in cut:
        longest = max(item.num_samples for item in bucket)
        real = sum(item.num_samples for item in bucket)
        assert longest * len(bucket) <= 4.0 * 16_000
        assert 1 - real / (longest * len(bucket)) <= 0.05


@pytest.mark.parametrize("workers", [0, 2])
def test_a_pass_in_buckets_gives_what_a_pass_alone_gives(
    toy_upstream, utterances, counted, workers
):
    alone = {
        item.id: states
        for item, states in upstream_pass(toy_upstream, utterances, Engine(), hidden_states)
    }
    counted.clear()
    engine = Engine(bucket_seconds=2.0, workers=workers)
    for item, states in upstream_pass(toy_upstream, utterances, engine, hidden_states):
        np.testing.assert_allclose(states, alone.pop(item.id), atol=1e-5)
    assert not alone
    assert len(counted) == len(buckets(utterances, 2.0)) < len(utterances)


def test_brain_float_is_another_set_of_features(tmp_path, toy_upstream, utterances):
    exact = FeatureStore(tmp_path, "d" * 64, "pooled")
    exact.extract(toy_upstream, utterances)
    rough = FeatureStore(tmp_path, "d" * 64, "pooled", engine=Engine(precision="bf16"))
    assert rough.missing(utterances) == utterances
    rough.extract(toy_upstream, utterances)
    one, other = (
        store.read(utterances).rows(range(len(utterances))).states for store in (exact, rough)
    )
    error = float((one - other).abs().max() / one.abs().max())
    assert 0 < error < 0.02
    assert not torch.equal(one, other)


def test_times_are_taken_in_turn():
    order = []
    found = in_turn({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 2)
    assert order == ["a", "b", "a", "b"]
    assert [len(times) for times in found.values()] == [2, 2]
    assert spread([3.0, 1.0, 2.0]) == "2.00 (1.00 to 3.00)"


def test_hours_of_the_reference_by_hand():
    ks = next(corpus for corpus in f_official.CORPORA if corpus.task == "ks")
    trained = 200_000 * 32 * 1.0 / 3_600
    expected = 3 * (1.14 * trained + 40 * 2.7)
    assert f_official.hours_of_reference(ks) == pytest.approx(expected)
    assert f_official.hours_of_ours(ks) == pytest.approx(51_094 / 3_600 + 2.7)
