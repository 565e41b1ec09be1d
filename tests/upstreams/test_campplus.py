"""CAM++: the authors' embeddings on the real weights, and its pooled state in the store."""

import math

import pytest
import torch
from references import alone, noise
from toys import make_utterances

from bench.api import UpstreamSource
from bench.engine import Engine
from bench.errors import InvalidDataError, MissingError, UsageError
from bench.features.store import FeatureStore
from bench.features.stream import Stream
from bench.load.loader import load_upstream
from bench.load.taps import choose_states
from bench.measure.check import check
from upstreams.campplus import EMBEDDING, import_state, load


@pytest.fixture(scope="module")
def upstream():
    return load(UpstreamSource(config={}))


def test_the_contract(upstream):
    assert [item for item in check(upstream) if not item.ok] == []


@pytest.mark.parametrize("size", [400, 720, 20_000])
def test_the_last_state_is_pooled(upstream, size):
    states = alone(upstream, noise(size)).states
    assert states[0].shape == (1, upstream.num_frames(size), 512)
    assert torch.equal(states[-1], states[-1][:, :1].expand_as(states[-1]))
    assert not states[-1][..., EMBEDDING:].any()


def test_pooled_states_are_only_for_pooled_features(upstream, tmp_path):
    utterances = make_utterances(tmp_path, 2)
    for mode, count in (("pooled", 5), ("frames", 4)):
        store = FeatureStore(tmp_path / "store", "key", mode)
        store.extract(upstream, utterances)
        source = Stream(upstream, utterances, mode, Engine())
        kept, heard = store.read(utterances).rows([0, 1]), source.rows([0, 1])
        assert store.read(utterances).num_layers == source.num_layers == count
        assert torch.equal(kept.in_order(), heard.in_order())
    last = choose_states(upstream, "last")
    assert (last.num_layers, last.num_pooled) == (1, 1)
    assert choose_states(upstream, "layer3").num_pooled == 0
    with pytest.raises(UsageError, match="only a pooled state"):
        Stream(last, utterances, "frames", Engine()).rows([0])


@pytest.mark.parametrize("change", [{"x": torch.ones(1)}, {"head.bn1.bias": torch.ones(3)}])
def test_other_weights_are_refused(upstream, change):
    expected = upstream.state_dict()
    with pytest.raises(InvalidDataError, match=next(iter(change))):
        import_state(expected | change, expected)


def test_the_published_weights_give_the_authors_embedding():
    """The expected numbers are of the module in the wheel, without the ReLU that it adds."""
    try:
        loaded = load_upstream("campplus")
    except MissingError as error:
        pytest.skip(str(error))
    seconds = torch.arange(32_000) / 16_000
    wav = 0.1 * torch.sin(2 * math.pi * (200 + 300 * seconds) * seconds)
    wav = wav + 0.02 * torch.sin(2 * math.pi * 1234 * seconds)
    embedding = alone(loaded.upstream, wav).states[-1][0, 0, :EMBEDDING]
    expected = torch.tensor([-0.9124926925, 0.7833087444, -0.3510882258, -0.3985519111])
    assert loaded.provenance == "published"
    assert torch.allclose(embedding[:4], expected, atol=1e-4)
    assert float(embedding.norm()) == pytest.approx(9.31995, abs=1e-4)
