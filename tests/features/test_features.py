"""The feature store keeps exactly what the upstream gives, and survives what disks do."""

import numpy as np
import pytest
import torch

from bench.engine import Engine
from bench.errors import InvalidDataError
from bench.features.passes import upstream_pass
from bench.features.rows import moments
from bench.features.store import FeatureStore
from bench.features.stream import Stream


@pytest.fixture
def stores(tmp_path):
    return lambda mode: FeatureStore(tmp_path / "features", "d" * 64, mode)


def test_frames_equal_the_upstream_to_half_precision(
    stores, toy_upstream, utterances, through_upstream
):
    store = stores("frames")
    store.extract(toy_upstream, utterances)
    features = store.read(utterances)
    for index, item in enumerate(utterances):
        expected = through_upstream(toy_upstream, item)  # (L, T, D)
        found = features.utterance(index)
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=6e-4, atol=1e-6)


def test_pooled_is_the_mean_over_time(stores, toy_upstream, utterances, through_upstream):
    store = stores("pooled")
    store.extract(toy_upstream, utterances)
    features = store.read(utterances)
    for index, item in enumerate(utterances):
        expected = through_upstream(toy_upstream, item).mean(axis=1, keepdims=True)
        np.testing.assert_allclose(features.utterance(index), expected, rtol=1e-5, atol=1e-6)


def test_a_pass_that_keeps_frames_keeps_the_same_means(stores, toy_upstream, utterances, tmp_path):
    stores("frames").extract(toy_upstream, utterances)
    assert not stores("pooled").missing(utterances)
    alone = FeatureStore(tmp_path / "other", "d" * 64, "pooled")
    alone.extract(toy_upstream, utterances)
    both = stores("pooled").read(utterances), alone.read(utterances)
    for index in range(len(utterances)):
        np.testing.assert_array_equal(both[0].utterance(index), both[1].utterance(index))


def test_what_is_kept_is_not_computed_again(stores, toy_upstream, utterances):
    stores("frames").extract(toy_upstream, utterances[:10])
    again = stores("frames")
    assert {item.id for item in again.missing(utterances)} == {u.id for u in utterances[10:]}
    seen = []
    again.extract(toy_upstream, utterances, lambda item: seen.append(item.id))
    assert seen == [item.id for item in utterances[10:]]


def test_an_interrupted_pass_goes_on_with_the_same_features(
    stores, toy_upstream, utterances, tmp_path, monkeypatch
):
    monkeypatch.setattr("bench.features.store.SHARD_UTTERANCES", 4)
    whole = FeatureStore(tmp_path / "whole", "d" * 64, "frames")
    whole.extract(toy_upstream, utterances)

    def interrupt(item):
        if item.id == utterances[9].id:
            raise KeyboardInterrupt

    store = stores("frames")
    with pytest.raises(KeyboardInterrupt):
        store.extract(toy_upstream, utterances, interrupt)
    resumed = stores("frames")
    assert len(resumed.missing(utterances)) == len(utterances) - 8
    resumed.extract(toy_upstream, utterances)
    first, second = whole.read(utterances), resumed.read(utterances)
    for index in range(len(utterances)):
        np.testing.assert_array_equal(first.utterance(index), second.utterance(index))


def test_a_truncated_shard_is_made_again(stores, toy_upstream, utterances):
    store = stores("frames")
    store.extract(toy_upstream, utterances)
    shard = next(store.folder.glob("*.npy"))
    shard.write_bytes(shard.read_bytes()[:-10])
    assert len(stores("frames").missing(utterances)) == len(utterances)


def test_headers_are_not_parsed_while_threads_read(stores, toy_upstream, utterances, monkeypatch):
    # Python 3.11.7: several threads that parse at once can fail (python/cpython issue 106905).
    store = stores("frames")
    store.extract(toy_upstream, utterances)
    features = store.read(utterances)
    expected = features.rows([0, 3, 1]).states

    def parse(*arguments, **options):
        raise SystemError("AST constructor recursion depth mismatch")

    with monkeypatch.context() as patch:
        patch.setattr("ast.parse", parse)
        read = features.rows([0, 3, 1]).states
    assert torch.equal(read, expected)


def test_batches_are_padded_with_zeros_and_moments_skip_padding(stores, toy_upstream, utterances):
    store = stores("frames")
    store.extract(toy_upstream, utterances)
    features = store.read(utterances)
    batch = features.rows([5, 0, 2]).batch([0, 1, 2])
    for row, length in enumerate(batch.lengths.tolist()):
        assert not batch.stacked[:, row, length:].any()
    frames = np.concatenate([features.utterance(i) for i in range(len(features))], axis=1)
    found = moments(features)
    np.testing.assert_allclose(found.mean, frames.mean(axis=1), atol=1e-5)
    np.testing.assert_allclose(found.std, frames.std(axis=1), atol=1e-5)


@pytest.mark.parametrize("mode", ["pooled", "frames"])
def test_moments_do_not_depend_on_how_features_lie_on_the_disk(
    stores, toy_upstream, utterances, tmp_path, mode
):
    found = []
    for name, pieces in (("whole", [slice(None)]), ("pieces", [slice(7, 12), slice(0, 3)])):
        store = FeatureStore(tmp_path / name, "d" * 64, mode)
        for piece in [*pieces, slice(None)]:  # each pass that finds some missing writes a shard
            store.extract(toy_upstream, utterances[piece][::-1])
        found.append(moments(store.read(utterances)))
    stream = Stream(toy_upstream, utterances, mode, Engine())
    for other in (found[1], moments(stream)):
        assert torch.equal(found[0].mean, other.mean)
        assert torch.equal(found[0].std, other.std)


def test_frames_beyond_half_precision_stay_in_single_precision(stores, toy_upstream, utterances):
    store, plain = stores("frames"), utterances[:4]
    store.extract(toy_upstream, plain[:1])  # a shard in half precision
    small = store.read(plain[:1]).utterance(0)
    with torch.no_grad():
        toy_upstream.first.bias.fill_(1e6)
    store.extract(toy_upstream, plain[1:])
    for source in (store.read(plain), Stream(toy_upstream, plain, "frames", Engine())):
        rows = source.rows([0, 1, 2, 3])
        assert rows.states.dtype == torch.float32
        (_, exact), *_ = upstream_pass(toy_upstream, plain[1:2], Engine(), lambda x, _: x)
        batch = rows.batch([1]).stacked[:, 0]  # (L, T, D)
        assert torch.equal(batch, exact.transpose(0, 1)) and float(batch.max()) > 65_504
    assert (store.read(plain).utterance(0) == small).all()
    assert store.drop_broken(plain) == []


def test_features_that_are_not_finite_are_refused(stores, toy_upstream, utterances):
    with torch.no_grad():
        toy_upstream.first.bias.fill_(float("inf"))
    with pytest.raises(InvalidDataError, match=r"features of utterance .* are not finite"):
        stores("frames").extract(toy_upstream, utterances[:1])


def test_an_utterance_shorter_than_a_frame_is_refused(stores, toy_upstream, utterances):
    from dataclasses import replace

    short = replace(utterances[0], num_samples=100, key="short")
    with pytest.raises(InvalidDataError, match="needs at least 320"):
        stores("frames").extract(toy_upstream, [short])
