"""Pre-training: units, masked prediction against a float64 reference, and that it learns."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from recipe_toys import MEL, first_batch, ingredients, moment, stream
from scipy.fft import dct

from bench.errors import UsageError
from upstreams.cepstra import Cepstra, cosine_transform, differences
from upstreams.encoder.state import build, random_state
from upstreams.recipes.pretraining import pretrain
from upstreams.recipes.pretraining.pretrain import config_section
from upstreams.recipes.pretraining.units import frame_counts, make_units, parse_codebook
from upstreams.recipes.training.masking import span_mask

CONFIG = {"encoder": config_section(MEL), "codebooks": ["mfcc:8", "context:6"], "code_dim": 4}


def test_cosine_transform_is_scipys():
    x = np.random.default_rng(0).standard_normal((3, 40))
    expected = dct(x, type=2, norm="ortho")[:, :13]
    found = torch.from_numpy(x).float() @ cosine_transform(40, 13)
    assert np.allclose(found.numpy(), expected, atol=1e-5)


def test_differences_of_a_line_are_its_slope():
    line = torch.arange(9.0)[:, None] * torch.tensor([2.0, -1.0])
    assert torch.allclose(differences(line)[2:-2], torch.tensor([2.0, -1.0]).expand(5, 2))


def test_cepstra_forget_the_level_and_mfcc_the_mean():
    wav = torch.randn(16_000, generator=torch.Generator().manual_seed(0))
    cepstra = Cepstra(3_800.0)
    assert cepstra(wav).shape == (49, 13)
    assert torch.allclose(cepstra(wav), cepstra(0.1 * wav), atol=1e-2)
    mfcc, context = cepstra.mfcc(wav), cepstra.context(wav)
    assert mfcc.shape == (49, 39) and context.shape == (49, 65)
    assert torch.allclose(mfcc[:, :13].mean(0), torch.zeros(13), atol=1e-4)
    assert torch.allclose(context[10, 26:39], cepstra(wav)[10], atol=1e-6)
    assert torch.allclose(context[10, :13], cepstra(wav)[8], atol=1e-6)


def units_of(source, text, teacher=None, seed=0):
    book = parse_codebook(text)
    blocks = make_units(book, source.clips, source.read, teacher=teacher, top_hz=3_800.0, seed=seed)
    ends = np.cumsum(frame_counts(book, source.clips, teacher))
    return np.split(np.concatenate(list(blocks)), ends[:-1])


def test_units_are_one_a_frame_and_the_same_again(tmp_path):
    source = ingredients(tmp_path, {})
    units = units_of(source, "mfcc:8")
    assert [len(item) for item in units] == [(c.num_samples - 400) // 320 + 1 for c in source.clips]
    assert set(np.concatenate(units)) <= set(range(8))
    assert len(set(np.concatenate(units))) > 4
    again = units_of(source, "mfcc:8")
    assert all(np.array_equal(a, b) for a, b in zip(units, again, strict=True))


def test_units_do_not_depend_on_the_size_of_blocks(tmp_path, monkeypatch):
    source = ingredients(tmp_path, {})
    whole = units_of(source, "mfcc:8")
    monkeypatch.setattr("upstreams.recipes.pretraining.units.ASSIGN_FRAMES", 7)
    blocks = units_of(source, "mfcc:8")
    assert all(np.array_equal(a, b) for a, b in zip(whole, blocks, strict=True))


MADE = """
import resource, sys, pathlib, torch
from bench.api import Utterance, Upstream
from bench.trainer import Ingredients
from upstreams.recipes.pretraining import pretrain

class Made(torch.nn.Module):
    num_layers, stride = 7, 320
    blocks = torch.randn(100, 499, 39)
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
    def num_frames(self, samples):
        return (samples - 400) // 320 + 1
    def forward(self, wavs, lengths):
        return [self.blocks[int(wavs[0, 0])][None]] * 7, lengths

clips = [
    Utterance(str(n), pathlib.Path("x"), 0, 160_000, None, "", "", str(n)) for n in range(36_000)
]
read = lambda clip, start, count: torch.full((1,), float(int(clip.id) % 100)).expand(count)
source = Ingredients({}, Made(), None, clips, read, 0, pathlib.Path(sys.argv[1]), print)
units = pretrain._units(source, pretrain.parse_codebook("layer6:32"), 8000.0)
assert len(units) == 36_000 and {len(each) for each in units} == {499}
assert (units[5] == units[105]).all() and (units[5] != units[6]).any()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_a_hundred_hours_need_less_than_two_gibibytes(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", MADE, tmp_path], capture_output=True, text=True, check=True
    )
    peak_kib = int(done.stdout.split()[-1])
    assert peak_kib < 2 << 20
    assert next(tmp_path.glob("units-*.npy")).stat().st_size == pytest.approx(36e6, rel=0.01)


def test_units_of_context_tell_high_tones_from_low_ones(tmp_path):
    source = ingredients(tmp_path, {})
    units = units_of(source, "context:2")
    heard = [round(float(item.mean())) for item in units]
    labels = [clip.target == "high" for clip in source.clips]
    agreement = np.mean(np.array(heard) == np.array(labels))
    assert max(agreement, 1 - agreement) > 0.9


def test_units_of_a_layer_are_clusters_of_its_states(tmp_path):
    source = ingredients(tmp_path, {})
    teacher = build(MEL, random_state(MEL, 0))
    units = units_of(source, "layer1:5", teacher)
    assert sum(map(len, units)) == sum((c.num_samples - 400) // 320 + 1 for c in source.clips)
    with pytest.raises(UsageError, match="states 0 to 2"):
        units_of(source, "layer9:5", teacher)
    with pytest.raises(UsageError, match="none given"):
        units_of(source, "layer1:5")
    with pytest.raises(UsageError, match="fewer clusters needed"):
        units_of(source, "mfcc:2000")


def test_units_of_a_layer_are_told_apart_by_teacher_and_stand_on_the_grid(tmp_path):
    teacher = build(MEL, random_state(MEL, 0))
    told = []
    source = replace(
        ingredients(tmp_path, {**CONFIG, "codebooks": ["layer1:5"]}, teacher=teacher),
        say=told.append,
    )
    for name in ("one", "one", "other"):
        pretrain.make(replace(source, teacher_sha256=name))
    assert len(told) == 2
    slow = replace(MEL, conv_layers=((80, 400, 640),))
    with pytest.raises(UsageError, match="every 320 samples, not every 640"):
        units_of(source, "layer1:5", build(slow, random_state(slow, 0)))
    encoder = config_section(slow)
    with pytest.raises(UsageError, match="the encoder of 640"):
        pretrain.make(ingredients(tmp_path, {**CONFIG, "encoder": encoder}))


@pytest.mark.parametrize("text", ["mfcc", "mfcc:1", "mel:8", "layer:8", "layerx:8", "mfcc:9999"])
def test_codebooks_that_do_not_hold(text):
    with pytest.raises(UsageError, match="expected mfcc:K"):
        parse_codebook(text)


def test_units_are_read_where_they_were_made(tmp_path):
    told = []
    source = ingredients(tmp_path, CONFIG)
    source = type(source)(**{**vars(source), "say": told.append})
    first = pretrain.make(source)
    assert len(told) == 2
    second = pretrain.make(source)
    assert len(told) == 2
    assert all(
        np.array_equal(a, b)
        for one, two in zip(first.units, second.units, strict=True)
        for a, b in zip(one, two, strict=True)
    )
    with pytest.raises(UsageError, match="key 'codebooks'"):
        pretrain.make(ingredients(tmp_path, {**CONFIG, "codebooks": []}))


def test_loss_is_the_cross_entropy_at_masked_frames(tmp_path):
    source = ingredients(tmp_path, CONFIG)
    objective = pretrain.make(source).double()
    batch = first_batch(source)
    batch = batch._replace(wavs=batch.wavs.double())
    found, figures = objective.loss(batch, moment(4))
    x, frames = objective.encoder.project(batch.wavs, batch.lengths)
    masked = span_mask(frames, x.shape[1], start_prob=0.075, span=10, generator=moment(4).generator)
    x = x.clone()
    x[masked] = objective.mask
    last = objective.encoder.transform(x, frames)[-1]
    expected, places = 0.0, masked.nonzero().tolist()
    for book, head in enumerate(objective.heads):
        total = 0.0
        for row, frame in places:
            projected = head.projection.weight @ last[row, frame] + head.projection.bias
            scores = torch.stack(
                [torch.cosine_similarity(projected, c, 0) / 0.1 for c in head.codes]
            )
            first = batch.starts[row] // 320
            unit = int(objective.units[book][batch.indices[row]][first + frame])
            total = total - torch.log_softmax(scores, 0)[unit]
        assert figures[f"ce{book}"] == pytest.approx((total / len(places)).item(), abs=1e-9)
        expected = expected + total / len(places)
    assert found.item() == pytest.approx(expected.item(), abs=1e-9)


def test_targets_follow_the_cut(tmp_path):
    source = ingredients(tmp_path, CONFIG)
    objective = pretrain.make(source)
    cut = next(
        part
        for epoch in range(9)
        for batch in stream(source).plan(epoch)
        for part in batch
        if part.start
    )
    batch = stream(source).load([cut])
    frames = torch.tensor([objective.encoder.num_frames(cut.num_samples)])
    targets = objective._targets(0, batch, frames, int(frames))
    whole = objective.units[0][cut.index]
    assert targets[0].tolist() == whole[cut.start // 320 :][: int(frames)].tolist()


def test_it_learns_what_it_does_not_see(tmp_path):
    source = ingredients(tmp_path, {**CONFIG, "codebooks": ["context:6"], "span": 3})
    objective = pretrain.make(source)
    batch = first_batch(source)
    optimizer = torch.optim.AdamW(objective.groups(5e-3, 0.0))
    losses = []
    for step in range(60):
        loss, _ = objective.loss(batch, moment(step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-10:]) < 0.6 * np.mean(losses[:5])
    product = objective.product()
    assert product.state.keys() == random_state(MEL, 0).keys()
    assert {"mask", "heads.0.codes", "heads.0.projection.weight"} <= product.extras.keys()
