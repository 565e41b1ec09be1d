"""Utterance mixing: what is added, where, how loud, and that it is drawn from the seed alone."""

import pytest
import torch
from recipe_toys import recipe_file

from bench.cli import main
from upstreams.recipes.training.masking import mix_utterances
from upstreams.recipes.training.stream import ClipBatch


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def batch_of(*lengths):
    wavs = torch.zeros(len(lengths), max(lengths))
    for row, length in enumerate(lengths):
        wavs[row, :length] = torch.randn(length, generator=generator(row))
    return ClipBatch(wavs, torch.tensor(lengths), tuple(range(len(lengths))), (0,) * len(lengths))


def added(batch, seed):
    return mix_utterances(batch, 1.0, generator(seed)).wavs - batch.wavs


def occurs(piece, sound):
    """Whether a piece, at any level, is a part of a sound."""
    if len(sound) < len(piece):
        return False
    places = torch.nn.functional.normalize(sound.unfold(0, len(piece), 1), dim=1)
    return bool((places @ torch.nn.functional.normalize(piece, dim=0)).max() > 0.9999)


def test_a_part_of_another_clip_is_added_within_half_of_the_clip():
    batch = batch_of(400, 300, 90)
    sizes = []
    for seed in range(60):
        for row, extra in enumerate(added(batch, seed)):
            at = extra.nonzero().flatten()
            length = int(batch.lengths[row])
            assert at[-1] < length
            sizes.append(len(at) / length)
            assert at[-1] - at[0] + 1 == len(at)  # one piece
            fits = [occurs(extra[at], batch.wavs[o, : batch.lengths[o]]) for o in range(3)]
            assert any(fits) and (len(at) < 3 or not fits[row])
    assert max(sizes) <= 0.5 and min(sizes) < 0.1 and max(sizes) > 0.4


def test_energy_ratios_are_between_minus_5_and_5_db():
    batch = batch_of(4_000, 4_000)
    batch.wavs[1] *= 0.01  # whatever the levels were
    ratios_db = []
    for seed in range(200):
        extra = added(batch, seed)
        for row in (0, 1):
            piece = extra[row][extra[row] != 0]
            if len(piece) > 1_000:
                own = batch.wavs[row].square().mean()
                ratios_db.append(float(10 * torch.log10(own / piece.square().mean())))
    assert -5.5 < min(ratios_db) < -4 and 4 < max(ratios_db) < 5.5
    assert sum(ratios_db) / len(ratios_db) == pytest.approx(0, abs=0.8)


def test_share_and_seed_decide():
    batch = batch_of(*[200] * 400)
    mixed = mix_utterances(batch, 0.2, generator(3)).wavs
    assert torch.equal(mixed, mix_utterances(batch, 0.2, generator(3)).wavs)
    touched = (mixed != batch.wavs).any(dim=1).float().mean()
    assert touched == pytest.approx(0.2, abs=0.06)
    assert torch.equal(mix_utterances(batch, 0.0, generator()).wavs, batch.wavs)


def test_silence_and_single_clips_stay():
    batch = batch_of(200, 200)
    batch.wavs[1] = 0
    assert torch.equal(mix_utterances(batch, 1.0, generator()).wavs, batch.wavs)
    alone = batch_of(200)
    assert mix_utterances(alone, 1.0, generator()) is alone


def test_the_recipe_key_is_read(tmp_path, capsys):
    sound = {"hours": 0.004, "batch_s": 1.5, "max_s": 1.0}
    weights = []
    for mixing in (0.0, 1.0):
        path = recipe_file(tmp_path, training={**sound, "mixing": mixing})
        out = tmp_path / f"run{mixing}"
        assert main(["compress", str(path), "--out", str(out)]) == 0
        weights.append((out / "tiny-s0.safetensors").read_bytes())
    assert weights[0] != weights[1]
    path = recipe_file(tmp_path, training={**sound, "mixing": 1.5})
    assert main(["compress", str(path), "--out", str(tmp_path / "bad")]) == 2
    error = capsys.readouterr().err
    assert "key 'mixing': Input should be less than or equal to 1 (found '1.5')" in error
