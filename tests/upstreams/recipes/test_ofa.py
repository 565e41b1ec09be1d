"""Once for all: a subnet in its supernet, cut out, and drawn; the recipe's stages and card."""

from dataclasses import replace

import pytest
import torch
from recipe_toys import MEL, WAVE, first_batch, ingredients, moment

from bench.api import UpstreamSource, lengths_to_mask
from bench.errors import UsageError
from upstreams.encoder.positions import sinusoids
from upstreams.encoder.state import build, num_parameters, random_state
from upstreams.house import load_supernet
from upstreams.recipes.distillation import ofa
from upstreams.recipes.training.export import write_weights
from upstreams.supernet.subnet import subnet_config

SPACE = {"embed": [8, 16], "layers": [1, 2], "heads": [1, 2], "ffn": [1.0, 2.0]}
CONFIG = {"upper": 2, "search_space": SPACE, "default": "embed=8,layers=1,heads=1,ffn=2.0"}


@pytest.fixture
def teacher():
    return build(MEL, random_state(MEL, 7))


@pytest.fixture
def recipe(tmp_path, teacher):
    return lambda **config: ingredients(tmp_path, {**CONFIG, **config}, teacher=teacher)


def test_a_subnet_in_its_supernet_is_the_one_cut_out(recipe, tmp_path):
    objective = ofa.make(recipe())
    file = tmp_path / "w.safetensors"
    product = objective.product()
    batch = first_batch(recipe())
    for seed in range(6):
        subnet = objective.space.sample(seed)
        with torch.no_grad():
            inside = objective.encode(subnet, batch, None)
        # Not from disk: half precision would hide what this is about.
        alone = build(
            subnet_config(objective.config, subnet),
            ofa.cut(product.state, objective.config, subnet),
        )
        with torch.no_grad():
            states, frames = alone(batch.wavs, batch.lengths)
        valid = lengths_to_mask(frames, inside.shape[1])
        assert torch.allclose(states[-1][valid], inside[valid], atol=1e-5)
        assert num_parameters(alone.config) == sum(p.numel() for p in alone.parameters())
    write_weights(product, file)
    for variant in (None, "min", "max", "random:3", "embed=16,layers=1,heads=2,ffn=1.0"):
        loaded = load_supernet(UpstreamSource(product.config, variant, file))
        assert loaded.hidden_size in (8, 16)
    assert load_supernet(UpstreamSource(product.config, CONFIG["default"], file)).variant is None
    assert load_supernet(UpstreamSource(product.config, "min", None)).variant == "min"


def test_the_largest_subnet_is_the_supernet(recipe):
    objective = ofa.make(recipe())
    batch = first_batch(recipe())
    with torch.no_grad():
        found = objective.encode(objective.space.largest(), batch, None)
        states, frames = objective.supernet(batch.wavs, batch.lengths)
    valid = lengths_to_mask(frames, found.shape[1])
    assert torch.allclose(found[valid], states[-1][valid], atol=1e-6)


def test_a_step_trains_only_what_its_subnet_has(recipe):
    objective = ofa.make(recipe())
    smallest = objective.space.smallest()
    objective.subnet_at = lambda _: smallest
    loss, _ = objective.loss(first_batch(recipe()), moment(0, stage=1))
    loss.backward()
    inner = objective.supernet.layers[0].ffn_in.weight.grad
    assert inner[:8, :8].abs().sum() > 0
    assert inner[8:].abs().sum() == 0 and inner[:, 8:].abs().sum() == 0
    assert objective.supernet.layers[1].ffn_in.weight.grad is None


def test_the_first_stage_draws_the_largest_and_the_second_all(recipe):
    objective = ofa.make(recipe())
    assert objective.subnet_at(moment(3)) == objective.space.largest()
    drawn = {objective.subnet_at(moment(step, stage=1)) for step in range(60)}
    assert len(drawn) > 20
    assert {subnet.embed for subnet in drawn} == {8, 16}
    assert {subnet.layers for subnet in drawn} == {1, 2}
    assert objective.stages == (0.4, 0.6)


def test_the_supernet_learns(recipe):
    objective = ofa.make(recipe(take=[0, 1]))
    batch = first_batch(recipe())
    optimizer = torch.optim.AdamW(objective.groups(3e-3, 0.0))
    losses = []
    for step in range(40):
        loss, _ = objective.loss(batch, moment(0, stage=step % 2))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-4:]) < 0.9 * sum(losses[:4])


def test_a_waveform_supernet_with_gain():
    config = replace(WAVE, pos_conv_gain=True)
    space = ofa.search_space(SPACE, 2)
    state = random_state(config, 0)
    small = ofa.cut(state, config, space.smallest())
    assert build(subnet_config(config, space.smallest()), small).hidden_size == 8


def test_a_narrow_supernet_starts_with_the_most_important_parts(recipe, teacher):
    assert teacher.config.heads[0] == 2
    with torch.no_grad():  # the first head and the first half of the units add nothing
        for layer in teacher.layers:
            layer.attention.out.weight[:, : teacher.config.head_dim] = 0
            layer.ffn_out.weight[:, : teacher.config.ffn[0] // 2] = 0
    half = {"heads": 1, "ffn": teacher.config.ffn[0] // 2}
    space = {"search_space": {**SPACE, "heads": [1], "ffn": [1.0]}, "default": "max"}
    objective = ofa.make(recipe(student=half, take=[0, 1], by_importance=True, **space))
    batch = first_batch(recipe())
    with torch.no_grad():
        expected, _ = teacher(batch.wavs, batch.lengths)
        states, frames = objective.supernet(batch.wavs, batch.lengths)
    valid = lengths_to_mask(frames, states[-1].shape[1])
    assert torch.allclose(states[-1][valid], expected[-1][valid], atol=1e-5)


def test_positions_of_a_narrower_subnet_are_the_first_of_the_supernets(recipe):
    config = replace(MEL, sinusoidal_positions=True)
    teacher = build(config, random_state(config, 7))
    space = {**SPACE, "embed": [8, 12, 16]}
    objective = ofa.make(replace(recipe(search_space=space), teacher=teacher))
    batch = first_batch(recipe())
    for embed in (8, 12):
        small = subnet_config(config, objective.space.smallest())
        small = replace(small, embed_dim=embed, ffn=(embed,))
        assert small.sinusoidal_width == 16
        located = build(small, random_state(small, 0)).with_positions(torch.zeros(1, 9, embed))
        without = replace(small, sinusoidal_positions=False, sinusoidal_width=0)
        bias = build(without, random_state(small, 0))
        added = located - bias.with_positions(torch.zeros(1, 9, embed))
        assert torch.allclose(added, sinusoids(9, 16)[:, :embed].expand(1, -1, -1), atol=1e-6)
    assert subnet_config(MEL, objective.space.smallest()).sinusoidal_width == 0
    with torch.no_grad():
        assert objective.encode(objective.space.smallest(), batch, None).shape[-1] == 8


def test_what_cannot_be_cut_is_refused():
    space = ofa.search_space(SPACE, 2)
    ofa.check_space(space, MEL)
    with pytest.raises(UsageError, match="a supernet with pruned convolutions cannot be cut"):
        ofa.check_space(space, replace(MEL, feature_scale=True))
    with pytest.raises(UsageError, match="a supernet with relative positions cannot be cut"):
        ofa.check_space(space, replace(MEL, relative_buckets=32))


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"search_space": {**SPACE, "embed": [8, 32]}}, "largest subnet must fit in the supernet"),
        (
            {"search_space": {**SPACE, "embed": [10, 16]}, "default": "max"},
            "no multiple of the 4 groups",
        ),
        ({"search_space": {**SPACE, "layers": [1, 2, 3]}}, "layers must be of"),
        ({"search_space": {"embed": [16]}}, "the keys embed"),
        ({"default": "embed=12"}, "embed=12 is not one of"),
        ({"upper": 9}, "'upper' must be 1 to 3"),
        ({"full_stage": 1.0}, "key 'full_stage'"),
        (
            {"by_importance": True, "student": {"ffn": 256}, "take": [0, 1]},
            "units of the teacher expected, found",
        ),
        ({"by_importance": True}, "sorts the layers of 'take', which is empty"),
    ],
)
def test_recipes_that_do_not_hold(recipe, config, told):
    with pytest.raises(UsageError, match=told):
        ofa.make(recipe(**config))
