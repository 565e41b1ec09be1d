"""Another front end for a trained encoder: its two stages, what stays, what is refused."""

from dataclasses import replace

import pytest
import torch
from recipe_toys import MEL, WAVE, first_batch, ingredients, moment, stream

from bench.api import UpstreamSource
from bench.errors import UsageError
from upstreams.encoder.config import encoder_config
from upstreams.encoder.positions import sinusoids
from upstreams.encoder.state import build, random_state, unpack
from upstreams.recipes.distillation import distil, frontend
from upstreams.recipes.distillation.whisper_layers import layer_config, layer_state
from upstreams.recipes.pretraining.pretrain import config_section
from upstreams.recipes.training.export import write_weights
from upstreams.recipes.training.objective import TrainedUpstream
from upstreams.whisper import load

BANK = {
    "extractor_mode": "mel",
    "conv_layers": [[40, 400, 320]],
    "feature_norm": False,
    "normalize_wav": True,
    "mel_top_hz": 3800.0,
    "mel_mean": -3.5,
    "mel_std": 3.0,
}
# The published convolutions, few channels: the grid of frames is theirs.
NARROW = replace(
    WAVE, conv_layers=((8, 10, 5), *((8, 3, 2),) * 4, *((8, 2, 2),) * 2), pos_conv_gain=True
)


# Convolutions in front of Whisper's layers.
WAVEFORM = {
    "conv_layers": [list(layer) for layer in NARROW.conv_layers],
    "pos_conv_kernel": 6,
    "pos_conv_groups": 4,
    "pos_conv_gain": False,
    "normalize_wav": True,
}


@pytest.fixture
def whisper():
    upstream = load(UpstreamSource(config={"width": 128, "num_layers": 2}, variant="context=0"))
    with torch.no_grad():
        for name, parameter in upstream.named_parameters():
            parameter += 0.1 * torch.randn_like(parameter)
            if name.endswith("joint.bias"):
                parameter[128:256] = 0
    return upstream


@pytest.fixture
def make(tmp_path):
    teacher = build(NARROW, random_state(NARROW, 7))

    def objective(**config):
        config = {"student": BANK, "targets": [1, 2]} | config
        return frontend.make(ingredients(tmp_path, config, teacher=teacher))

    return objective


def test_the_layers_are_the_teachers_and_only_the_front_end_learns_first(make, tmp_path):
    objective = make()
    teacher = objective._teacher[0]
    assert torch.equal(objective.student.layers[1].ffn_in.weight, teacher.layers[1].ffn_in.weight)
    objective.begin(0)
    learning = {
        n.partition(".")[0] for n, p in objective.student.named_parameters() if p.requires_grad
    }
    assert learning == {"projection"}
    objective.begin(1)
    assert all(p.requires_grad for p in objective.student.parameters())


def learn(objective, batch, stage):
    """Make twenty updates of a stage, whose loss must fall."""
    optimizer = torch.optim.AdamW(objective.groups(3e-3, 0.0))
    objective.begin(stage)
    losses = []
    for _ in range(20):
        loss, figures = objective.loss(batch, moment(0, stage=stage))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert set(figures) == ({"regression"} if stage else {"front"})


@pytest.mark.parametrize("stage", [0, 1])
def test_both_stages_learn(make, tmp_path, stage):
    objective = make()
    batch = first_batch(ingredients(tmp_path, {}))
    before = {name: value.clone() for name, value in objective.student.state_dict().items()}
    learn(objective, batch, stage)
    changed = {
        name.partition(".")[0]
        for name, value in objective.student.state_dict().items()
        if not torch.equal(value, before[name])
    }
    assert (changed == {"projection"}) == (stage == 0)


def test_back_to_a_waveform(tmp_path):
    teacher = build(MEL, random_state(MEL, 1))
    student = {
        "extractor_mode": "group_norm",
        "conv_layers": [list(layer) for layer in NARROW.conv_layers],
        "feature_norm": True,
        "normalize_wav": False,
    }
    config = {"student": student, "targets": [2]}
    objective = frontend.make(ingredients(tmp_path, config, teacher=teacher))
    product = objective.product()
    built = build(encoder_config(product.config), product.state)
    assert built.config.extractor_mode == "group_norm" and built.num_frames(16_000) == 49
    objective.begin(0)
    learning = {
        n.partition(".")[0] for n, p in objective.student.named_parameters() if p.requires_grad
    }
    assert learning == {"extractor", "feature_norm", "projection"}


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"student": {}}, "gives the new front end"),
        ({"student": {**BANK, "embed_dim": 32}}, "gives the new front end"),
        ({"student": {**BANK, "conv_layers": [[40, 400, 160]]}}, "must have the same frames"),
        ({"targets": [9]}, "0 to 2"),
        ({"adapt": 0.0}, "key 'adapt'"),
    ],
)
def test_recipes_that_do_not_hold(make, config, told):
    with pytest.raises(UsageError, match=told):
        make(**config)


def test_the_section_of_a_card_is_read_back():
    for config in (MEL, NARROW):
        assert encoder_config(config_section(config)) == config


def test_what_lies_beside_the_teachers_weights_is_handed_on(tmp_path):
    teacher, heads = build(NARROW, random_state(NARROW, 7)), {"heads.0.codes": torch.ones(3, 2)}
    taught = tmp_path / "teacher.safetensors"
    write_weights(TrainedUpstream({}, unpack(teacher), heads), taught)
    source = ingredients(tmp_path, {"student": BANK, "targets": [1]}, teacher=teacher)
    product = frontend.make(replace(source, teacher_file=taught)).product()
    assert set(product.extras) == {"heads.0.codes"}
    assert torch.equal(product.extras["heads.0.codes"], heads["heads.0.codes"])
    published = tmp_path / "published.pt"
    torch.save({"model": {}, "cfg": {}}, published)
    assert frontend.make(replace(source, teacher_file=published)).product().extras == {}


def test_an_encoder_has_whispers_layers(whisper):
    config = replace(layer_config(whisper), pos_conv_gain=False)
    state, taken, wav = random_state(config, 0), layer_state(whisper), 0.1 * torch.randn(1, 8_000)
    assert set(taken) == {name for name in state if name.startswith(("layers.", "norm."))}
    silent = {name: torch.zeros_like(state[name]) for name in state if name.startswith("pos_conv")}
    encoder = build(config, state | taken | silent)
    with torch.no_grad():
        expected = whisper(wav, torch.tensor([8_000])).states
        x = expected[0] - sinusoids(expected[0].shape[1], 128)
        states = encoder.transform(x, None)
    assert len(states) == 3
    for mine, theirs in zip(states, expected, strict=True):
        assert torch.allclose(mine, theirs, atol=1e-4)


@pytest.mark.parametrize("stage", [0, 1])
def test_convolutions_learn_the_input_of_whispers_layers(whisper, tmp_path, stage):
    config = {"student": WAVEFORM, "targets": [0, 1, 2], "target_norm": "dimensions"}
    source = ingredients(tmp_path, config, teacher=whisper)
    objective = frontend.make(source)
    layer = objective.student.layers[1]
    assert torch.equal(layer.ffn_in.weight, whisper.layers[1].ffn_in.weight)
    before = layer.ffn_in.weight.clone()
    learn(objective, first_batch(source), stage)
    assert torch.equal(before, layer.ffn_in.weight) == (stage == 0)


def test_the_first_stage_is_over_when_the_frames_are_whispers(whisper, tmp_path):
    """The loss of the front end is lowest for the input of Whisper's first layer."""
    config = {"student": WAVEFORM, "targets": [1]}
    source = ingredients(tmp_path, config, teacher=whisper)
    objective, batch = frontend.make(source), first_batch(source)
    states = whisper(batch.wavs, batch.lengths).states[0]
    frames = torch.tensor([objective.student.num_frames(size) for size in batch.lengths.tolist()])
    exact = states[:, : frames.max()]
    objective.student.project = lambda *_: (exact, frames)
    objective.student.with_positions = lambda x: x
    least, _ = objective.loss(batch, moment())
    share = batch.frame_share(objective.student.num_frames)
    assert least.item() == pytest.approx(0.3133 * share, abs=1e-3)  # -log sigmoid(1)


def test_a_student_of_whispers_widths_may_start_from_its_layers(whisper, tmp_path):
    shape = {"embed_dim": 128, "heads": 2, "ffn": 512, "num_layers": 1, "layer_norm_first": True}
    student = WAVEFORM | shape
    config = {"student": student, "targets": [2], "take": [1]}
    student = distil.make(ingredients(tmp_path, config, teacher=whisper)).student
    assert torch.equal(student.layers[0].ffn_out.weight, whisper.layers[1].ffn_out.weight)


def test_frames_that_are_normed_over_an_update_need_all_of_them(make, whisper, tmp_path):
    source = ingredients(tmp_path, {"student": WAVEFORM, "targets": [1]}, teacher=whisper)
    data = stream(source)
    shard = data.load_shard(data.plan(0)[0], 0, 2)
    for objective in (frontend.make(source), make(target_norm="dimensions")):
        with pytest.raises(UsageError, match="over all frames of an update"):
            objective.loss(shard, moment())
    make(target_norm="frames").loss(shard, moment())


def test_keys_of_the_positional_convolution_are_of_whispers_students_alone(make):
    with pytest.raises(UsageError, match="gives the new front end"):
        make(student=BANK | {"pos_conv_kernel": 6})
