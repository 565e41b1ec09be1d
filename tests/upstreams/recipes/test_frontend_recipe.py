"""Another front end for a trained encoder: its two stages, what stays, what is refused."""

from dataclasses import replace

import pytest
import torch
from recipe_toys import MEL, WAVE, first_batch, ingredients, moment

from bench.errors import UsageError
from upstreams.encoder.config import encoder_config
from upstreams.encoder.state import build, random_state, unpack
from upstreams.recipes.distillation import frontend
from upstreams.recipes.pretraining.pretrain import config_section
from upstreams.recipes.training.export import write_weights
from upstreams.recipes.training.objective import TrainedUpstream

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


@pytest.mark.parametrize("stage", [0, 1])
def test_both_stages_learn(make, tmp_path, stage):
    objective = make()
    batch = first_batch(ingredients(tmp_path, {}))
    optimizer = torch.optim.AdamW(objective.groups(3e-3, 0.0))
    objective.begin(stage)
    before = {name: value.clone() for name, value in objective.student.state_dict().items()}
    losses = []
    for _ in range(20):
        loss, figures = objective.loss(batch, moment(0, stage=stage))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert set(figures) == ({"regression"} if stage else {"front"})
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
