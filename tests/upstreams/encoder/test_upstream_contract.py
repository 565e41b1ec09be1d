"""Every card, at its real size: what it promises holds, alone and in a padded batch."""

import json

import pytest
import torch

from bench.load.catalog import upstream_card, upstream_names
from bench.load.loader import load_upstream
from upstreams.importers.lighthubert import BASE

# Too large to be drawn, or of a shape that only their file tells: test_cards.py and the tests of
# their parts at small sizes cover them.
LARGEST = 150_000_000
LARGE = 80_000_000  # takes seconds; the tests of the encoder hold its parts to the contract
SHAPE_IN_FILE = "upstreams.importers.dphubert:load"


def cards():
    """One card of each shape, by name."""
    actual = {}
    for name in upstream_names():
        card = upstream_card(name)
        large = card.reported.get("params", 0) > LARGEST
        if not large and card.load != SHAPE_IN_FILE:
            config = dict(card.config)
            if "kaldi" in config:  # the shape is the same whatever the statistics
                config["kaldi"] = config["kaldi"] | {"mean": [], "deviation": []}
            actual.setdefault((card.load, json.dumps(config), card.tap), name)
    return actual.values()


# Variants beside the cards' own: one a kind.
NAMES = [
    *(name if upstream_card(name).checkpoint is None else f"{name}+untrained" for name in cards()),
    "fbank@deltas=0,cmvn=off",
    "lighthubert_small@random:7+untrained",
    "lighthubert_small@min+untrained",
]
# (L, D, parameters) where they are published or follow from what is.
KNOWN = {
    "hubert_base+untrained": (13, 768, 94_371_712),
    "wavlm_base+untrained": (13, 768, 94_381_936),
    "distilhubert+untrained": (3, 768, 23_491_200),
    "distilhubert_heads+untrained": (6, 768, 27_034_752),
    "lighthubert_small+untrained": (13, 384, 26_879_744),
    "lighthubert_small@min+untrained": (11, 256, 11_449_088),
    "lighthubert_base+untrained": (13, 640, 66_897_664),
    "lighthubert_stage1+untrained": (13, 768, 94_377_728),
    "fithubert+untrained": (1, 768, 22_492_064),
    "armhubert+untrained": (12, 768, 26_447_968),
    "armhubert_s+untrained": (12, 768, 22_393_648),
    "maskhubert+untrained": (12, 768, 26_635_360),
    "starhubert+untrained": (12, 432, 22_308_592),
    "melhubert_20ms+untrained": (13, 768, 89_837_696),
    "melhubert_10ms+untrained": (13, 768, 89_806_976),
    "fbank": (1, 240, 0),
    "fbank@deltas=0,cmvn=off": (1, 80, 0),
}
LENGTHS = (7_000, 4_801)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Two threads that wait for each other on a busy machine take many times as long as one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def noise(num_samples):
    return 0.1 * torch.randn(num_samples, generator=torch.Generator().manual_seed(num_samples))


def marked(name):
    is_large = KNOWN.get(name, (0, 0, 0))[2] > LARGE
    return pytest.param(name, marks=pytest.mark.slow) if is_large else name


@pytest.fixture(scope="module", params=map(marked, NAMES))
def loaded(request):
    return load_upstream(request.param)


def encode(upstream, wavs, lengths):
    with torch.inference_mode():
        return upstream(wavs, torch.tensor(lengths))


def test_contract(loaded):
    upstream = loaded.upstream
    wavs = torch.nn.utils.rnn.pad_sequence([noise(size) for size in LENGTHS], batch_first=True)
    batch = encode(upstream, wavs, list(LENGTHS))
    frames = [upstream.num_frames(size) for size in LENGTHS]
    assert batch.lengths.dtype == torch.int64 and batch.lengths.tolist() == frames
    shape = (len(LENGTHS), max(frames), upstream.hidden_size)
    assert [tuple(state.shape) for state in batch.states] == [shape] * upstream.num_layers
    for row, size in enumerate(LENGTHS):
        single = encode(upstream, noise(size)[None], [size])
        for together, apart in zip(batch.states, single.states, strict=True):
            assert together.dtype == torch.float32 and bool(apart.isfinite().all())
            scale = float(apart.abs().max())
            difference = float((together[row, : frames[row]] - apart[0]).abs().max())
            assert difference <= 1e-4 * max(scale, 1.0)
    again = encode(upstream, noise(LENGTHS[1])[None], [LENGTHS[1]])
    for first, second in zip(single.states, again.states, strict=True):
        assert torch.equal(first, second)
    shortest = encode(upstream, noise(upstream.min_samples)[None], [upstream.min_samples])
    # FitHuBERT makes two frames of each that its transformer has.
    fewest = 2 if getattr(upstream, "reduction", None) is not None else 1
    assert shortest.lengths.tolist() == [fewest] == [upstream.num_frames(upstream.min_samples)]
    assert upstream.num_frames(upstream.min_samples - 1) == 0
    assert all(bool(state.isfinite().all()) for state in shortest.states)


def test_frozen_and_of_the_size_it_says(loaded):
    upstream, name = loaded.upstream, loaded.name.text()
    assert not any(parameter.requires_grad for parameter in upstream.parameters())
    assert not upstream.train().training
    params = sum(parameter.numel() for parameter in upstream.parameters())
    if name in KNOWN:
        assert (upstream.num_layers, upstream.hidden_size, params) == KNOWN[name]
    reported = loaded.card.reported.get("params")
    if reported and not loaded.name.variant:
        assert params == pytest.approx(reported, rel=0.01)


def test_every_card_is_complete():
    for name in upstream_names():
        card = upstream_card(name)
        assert card.paper and card.notes and card.license and card.title
        assert card.teacher is None or card.teacher in upstream_names()
        assert (card.checkpoint is None) == (card.provenance == "none")
    assert BASE.normalize_wav and BASE.extractor_mode == "layer_norm"
