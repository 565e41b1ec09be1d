"""The teacher's hidden states: computed for each batch, or read from the feature store."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import yaml
from recipe_toys import MEL, ingredients, moment, stream
from safetensors.torch import load_file

from bench.errors import UsageError
from bench.features import passes
from bench.make import teacher_states
from bench.make.compress import CompressionRequest, compress
from upstreams.encoder.state import build, random_state
from upstreams.recipes.distillation import distil, ofa, robust
from upstreams.recipes.distillation.teacher import FrozenTeacher
from upstreams.recipes.pretraining.pretrain import config_section
from upstreams.recipes.pruning import prune
from upstreams.recipes.training.stream import ClipStream

SPACE = {"embed": [8, 16], "layers": [1, 2], "heads": [1, 2], "ffn": [2.0]}
RECIPES = {
    "distil": (distil, {"targets": [1, 2], "student": {"num_layers": 1}}),
    "robust": (robust, {"targets": [1, 2], "student": {"num_layers": 1}}),
    "ofa": (ofa, {"upper": 2, "search_space": SPACE}),
    "prune": (prune, {"targets": [1, 2], "gates": ["heads", "units"], "sparsity": 0.2}),
}


@pytest.fixture
def teacher():
    return build(MEL, random_state(MEL, 7))


def kept_by(teacher, source):
    """Every clip's states (L, T, D), as whole clips give them."""
    with torch.no_grad():
        wavs = [source.read(clip, 0, clip.num_samples)[None] for clip in source.clips]
        found = [teacher(wav, torch.tensor([wav.shape[1]])).states for wav in wavs]
    return lambda indices: [torch.cat(list(found[index])) for index in indices]


def whole_batch(source):
    data = ClipStream(
        source.clips, source.read, batch_s=3, max_s=1, min_samples=400, seed=0, grid=False
    )
    return data.load(data.plan(0)[0])


def test_parts_of_kept_states_are_those_frames(tmp_path, teacher):
    source = ingredients(tmp_path, {})
    ramps = [torch.arange(1_000.0).repeat(3, 1)[:, :, None] + 5_000 * i for i in range(12)]
    frozen = FrozenTeacher(teacher, lambda indices: [ramps[index] for index in indices])
    data = stream(source)
    for parts in data.plan(0):
        batch = data.load(parts)
        states, frames = frozen.states_of(batch)
        assert len(states) == 3 and frames.tolist() == [
            teacher.num_frames(size) for size in batch.lengths.tolist()
        ]
        for row, part in enumerate(parts):
            first = part.start // 320 + 5_000 * part.index
            expected = torch.arange(first, first + frames[row]).float()
            assert torch.equal(states[1][row, : frames[row], 0], expected)
    assert any(part.start for parts in data.plan(0) for part in parts)


def test_kept_states_of_whole_clips_are_what_the_teacher_gives(tmp_path, teacher):
    source = ingredients(tmp_path, {})
    batch = whole_batch(source)
    heard = FrozenTeacher(teacher).states_of(batch)
    kept = FrozenTeacher(teacher, kept_by(teacher, source)).states_of(batch)
    assert heard.frames.tolist() == kept.frames.tolist()
    for row, count in enumerate(heard.frames.tolist()):
        for mine, theirs in zip(kept.states, heard.states, strict=True):
            assert torch.allclose(mine[row, :count], theirs[row, :count], atol=1e-5)


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_learn_the_same_from_kept_states(tmp_path, teacher, name):
    module, config = RECIPES[name]
    source = ingredients(tmp_path, config, teacher=teacher, distort=lambda wav, *_: 0.5 * wav)
    batch = whole_batch(source)
    heard, _ = module.make(source).loss(batch, moment())
    kept = replace(source, keep_states=lambda: kept_by(teacher, source))
    found, _ = module.make(kept).loss(batch, moment())
    assert found.item() == pytest.approx(heard.item(), rel=1e-4)


def test_a_teacher_that_hears_distortions_cannot_be_kept(tmp_path, teacher):
    config = {**RECIPES["robust"][1], "robust": {"setup": "both_same"}}
    source = ingredients(tmp_path, config, teacher=teacher, distort=lambda wav, *_: 0.5 * wav)
    source = replace(source, keep_states=lambda: pytest.fail("kept"))
    assert robust.make(source).teacher.reader is None


def test_frames_off_the_grid_of_crops_are_refused(teacher):
    teacher.stride = 640
    with pytest.raises(UsageError, match="320 samples apart or a part of that: this one's are 640"):
        FrozenTeacher(teacher, lambda _: [])


def recipe(folder, name, make, **changes):
    card = {
        "name": name,
        "title": name,
        "family": "distilled",
        "make": make,
        "data": str(folder / "audio"),
        "training": {"hours": 0.004, "batch_s": 1.5, "max_s": 1.0},
        **changes,
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(card))
    return path


@pytest.fixture
def taught(tmp_path):
    """Recipes that learn from a trained teacher with kept targets."""
    ingredients(tmp_path, {})
    own = {"encoder": config_section(MEL), "codebooks": ["mfcc:8"]}
    make = "upstreams.recipes.pretraining.pretrain:make"
    path = recipe(tmp_path, "elder", make, config=own, family="teacher")
    elder = compress(CompressionRequest(str(path), out=tmp_path / "elder"), tmp_path / "home")

    def student(name, make="upstreams.recipes.distillation.distil:make", config=None):
        training = {"hours": 0.004, "batch_s": 1.5, "max_s": 1.0, "keep_targets": True}
        path = recipe(
            tmp_path,
            name,
            make,
            config=config or RECIPES["distil"][1],
            teacher="house_wave",
            training=training,
        )
        request = CompressionRequest(str(path), out=tmp_path / name, teacher_card=elder)
        return lambda **changes: compress(replace(request, **changes), tmp_path / "home")

    return student


def test_the_command_keeps_them_once(taught, tmp_path, monkeypatch, capsys):
    first = taught("young")()
    assert "keeping the teacher's states of 12 clips" in capsys.readouterr().err
    assert yaml.safe_load(first.read_text())["teacher"] == "elder-s0"
    monkeypatch.setattr(passes, "forward_bucket", lambda *_: pytest.fail("passed again"))
    again = taught("young")(out=tmp_path / "again")
    weights = [load_file(path.with_suffix(".safetensors")) for path in (first, again)]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    assert taught("young")(out=tmp_path / "dry", dry_run=True) is None


def test_options_are_refused_before_any_clip_passes(taught, monkeypatch):
    monkeypatch.setattr(teacher_states, "keep_states", lambda *_: pytest.fail("passed"))
    with pytest.raises(UsageError, match="'targets' must name hidden states"):
        taught("wide", config={"targets": [9], "student": {"num_layers": 1}})()


def test_each_process_passes_a_part_and_reads_all(tmp_path, teacher, monkeypatch):
    source, passed, rank = ingredients(tmp_path, {}), [], iter((0, 1))
    loaded = SimpleNamespace(upstream=teacher, key="k" * 64, name=SimpleNamespace(text=str))

    def keep():
        return teacher_states.keep_states(loaded, source.clips, tmp_path, "cpu")

    def barrier():  # the first process waits here for the second
        passed.append(len(list((tmp_path / "features").rglob("frames*/**/*.json"))))
        if len(passed) == 1:
            keep()

    for name, value in {
        "is_initialized": lambda: True, "get_rank": lambda: next(rank),
        "get_world_size": lambda: 2, "barrier": barrier,
    }.items():  # fmt: skip
        monkeypatch.setattr(teacher_states.distributed, name, value)
    states = keep()(range(12))
    expected = kept_by(teacher, source)(range(12))
    for ours, theirs in zip(states, expected, strict=True):
        assert torch.allclose(ours, theirs, atol=0.02)
    assert passed == [1, 2]


def test_what_cannot_be_kept_is_told_in_one_line(taught, monkeypatch):
    front = {"targets": [1, 2], "student": {"mel_top_hz": 3000.0}}
    with pytest.raises(UsageError, match="'keep_targets' is not for this recipe"):
        taught("front", "upstreams.recipes.distillation.frontend:make", front)()
    monkeypatch.setattr(teacher_states, "MAX_SECONDS", 0.3)
    with pytest.raises(UsageError, match=r"of 0.3 s at most: .*\.wav has"):
        taught("long")()
