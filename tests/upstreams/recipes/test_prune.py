"""Pruning: gates, expected costs, the Lagrangian, and that the cut module is the gated one."""

from dataclasses import replace

import pytest
import torch
import yaml
from recipe_toys import MEL, WAVE, first_batch, ingredients, moment

from bench.errors import UsageError
from bench.measure.cost import measure
from bench.measure.macs import count
from bench.registry import ROOT
from upstreams.encoder.config import EncoderConfig, encoder_config
from upstreams.encoder.state import build, num_parameters, random_state, trainable, unpack
from upstreams.recipes.distillation.teacher import FrozenTeacher
from upstreams.recipes.pruning import prune
from upstreams.recipes.pruning.gated import GatedEncoder, gate_counts
from upstreams.recipes.pruning.gates import Gates
from upstreams.recipes.pruning.prune import Constraint, Pruning, PruningOptions
from upstreams.recipes.pruning.removal import remove
from upstreams.recipes.pruning.sizes import (
    LayerCounts,
    extractor_params,
    macs_per_second,
    transformer_params,
)

ALL = ("channels", "heads", "units")
WHOLE = ("attentions", "feed_forwards")


# Relative positions, as in WavLM; four heads a layer.
RELATIVE = replace(WAVE, embed_dim=32, heads=(4, 4), relative_buckets=32, relative_distance=100)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def some_gates(gated, seed=1, mean=-1.2):
    """Log alphas far enough from their start that all kinds lose some."""
    generator = seeded(seed)
    with torch.no_grad():
        for parameter in gated.gates.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) + mean)
    gated.settle()


@pytest.mark.parametrize("drop_rate", [0.01, 0.5, 0.9])
def test_expected_open_gates_against_sampling(drop_rate):
    gates = Gates(50, drop_rate, seeded())
    with torch.no_grad():
        drawn = torch.stack([(gates.sample(seeded(index)) > 0).float() for index in range(4_000)])
    assert abs(drawn.mean().item() - gates.expected().item() / 50) < 1e-2


def test_hard_gates_keep_the_likeliest_and_at_least_one():
    gates = Gates(4, 0.5, seeded())
    with torch.no_grad():
        gates.log_alpha.copy_(torch.tensor([3.0, -8.0, 4.0, -9.0]))
    hard = gates.hard()
    assert (hard > 0).tolist() == [True, False, True, False]
    assert hard[2].item() == pytest.approx(1 / (1 + torch.e ** (-0.8 * 4.0 * 1.5)), abs=1e-6)
    with torch.no_grad():
        gates.log_alpha.fill_(-20.0)
    assert (gates.hard() > 0).sum() == 1


def test_gates_have_gradients_where_they_are_neither_shut_nor_open():
    gates = Gates(3, 0.5, seeded()).double()
    u = torch.tensor([0.3, 0.5, 0.6], dtype=torch.float64)

    def gate(log_alpha):
        s = torch.sigmoid((torch.log(u) - torch.log1p(-u) + log_alpha) / (2 / 3))
        return (s * 1.2 - 0.1).clamp(0, 1)

    assert torch.autograd.gradcheck(gate, (gates.log_alpha,))
    gates.sample(seeded()).sum().backward()
    assert torch.isfinite(gates.log_alpha.grad).all()


def test_hubert_base_before_pruning():
    """10.2 % expected sparsity, 40,592 gates in 31 vectors: DPHuBERT's start (methods.md 2.1)."""
    config = EncoderConfig()
    counts = gate_counts(config)
    assert sum(len(counts[kind]) for kind in ALL) == 31
    assert sum(sum(counts[kind]) for kind in ALL) == 40_592
    rates = {"channels": 0.01, "heads": 0.01, "units": 0.5}
    expected = {
        kind: [Gates(size, rates[kind], seeded(size)).expected().item() for size in counts[kind]]
        for kind in ALL
    }
    dense = extractor_params(config, counts["channels"]) + transformer_params(
        config, LayerCounts(counts["heads"], counts["units"])
    )
    assert dense == num_parameters(config)
    left = extractor_params(config, expected["channels"]) + transformer_params(
        config, LayerCounts(expected["heads"], expected["units"])
    )
    assert 1 - left / dense == pytest.approx(0.102, abs=1e-3)
    assert left == pytest.approx(84.77e6, rel=2e-3)


@pytest.mark.parametrize(
    "config",
    [
        WAVE,
        MEL,
        replace(WAVE, feature_norm=False),
        replace(WAVE, conv_bias=True),
        replace(WAVE, feature_scale=True),
    ],
)
def test_sizes_are_those_of_the_module(config):
    counts = gate_counts(config)
    encoder = build(config, random_state(config, 0))
    params = extractor_params(config, counts["channels"]) + transformer_params(
        config, LayerCounts(counts["heads"], counts["units"])
    )
    assert params == num_parameters(config) == measure(encoder).params
    left = LayerCounts(*(counts[kind] for kind in ("heads", "units", *WHOLE)))
    macs = macs_per_second(config, counts["channels"], left)
    assert macs * 10 == pytest.approx(count(encoder, 160_000).plain, rel=1e-9)


@pytest.mark.parametrize(
    ("config", "kinds"),
    [
        (WAVE, ALL),
        (replace(WAVE, feature_norm=False), ALL),
        (replace(WAVE, conv_bias=True, layer_norm_first=True), ALL),
        (MEL, ("heads", "units")),
        (WAVE, ("channels",)),
        (WAVE, WHOLE),
        (replace(WAVE, layer_norm_first=True), (*ALL, *WHOLE)),
        (MEL, ("units", "attentions")),
        (replace(WAVE, feature_scale=True), ALL),  # pruned before
        (replace(WAVE, feature_norm=False, feature_scale=True), ALL),
        (RELATIVE, ALL),
        (replace(RELATIVE, embed_dim=48, kept_heads=((0, 2, 3, 5), (1, 2, 4, 5))), ALL),
    ],
)
def test_the_cut_module_is_the_gated_one(config, kinds):
    config = replace(config, heads=(4, 4))
    state = random_state(config, 5)
    for name in state:  # so that no norm or bias is at its neutral start
        state[name] = state[name] + 0.1 * torch.randn(
            state[name].shape, generator=seeded(len(name))
        )
    gated = GatedEncoder(trainable(config, state), kinds, 0)
    some_gates(gated)
    small, left = remove(unpack(gated.encoder), config, gated.gate_values())
    cut = build(small, {key: value.detach() for key, value in left.items()})
    if "attentions" in kinds:
        assert 0 in small.heads and any(small.heads)
    if config.relative_buckets:
        assert any(heads < 4 for heads in small.heads)
    assert num_parameters(small) < 0.95 * num_parameters(config)
    wavs, lengths = torch.randn(2, 6_400, generator=seeded(9)), torch.tensor([6_400, 4_000])
    with torch.no_grad():
        expected, _ = gated.encoder(wavs, lengths)
        found, frames = cut(wavs, lengths)
    for mine, theirs in zip(found, expected, strict=True):
        for row, size in enumerate(frames.tolist()):
            assert torch.allclose(mine[row, :size], theirs[row, :size], atol=1e-5)
    again = encoder_config(prune.config_section(small))
    assert again == small


def test_multipliers_climb_and_the_penalty_is_the_formula():
    constraint = Constraint()
    with torch.no_grad():
        constraint.linear.fill_(2.0)
        constraint.quadratic.fill_(3.0)
    sparsity = torch.tensor(0.3, requires_grad=True)
    penalty = constraint(sparsity, 0.5)
    assert penalty.item() == pytest.approx(2 * -0.2 + 3 * 0.04)
    penalty.backward()
    assert sparsity.grad.item() == pytest.approx(2 + 2 * 3 * -0.2)


def train(source, options, steps=360):
    batch = first_batch(source)
    batch = batch._replace(wavs=batch.wavs[:1, :1_600], lengths=torch.tensor([1_600]))
    teacher = FrozenTeacher(source.teacher)
    states = teacher.states_of(batch)
    teacher.states_of = lambda _: states  # of the only batch
    objective = Pruning(teacher, options, seed=0)
    optimizer = torch.optim.AdamW(objective.groups(1e-3, 0.0), fused=True)
    for step in range(steps):
        fraction = step / steps
        loss, figures = objective.loss(batch, replace(moment(step), stage_fraction=fraction))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    objective.begin(1)
    return objective, figures


BIG = replace(
    WAVE,
    heads=(8, 8),
    ffn=(96, 96),
    head_dim=4,
    conv_layers=tuple((24, kernel, stride) for _, kernel, stride in WAVE.conv_layers),
)


def removed(objective, teacher):
    """The sparsity under each constraint, measured on the module that is left."""
    product = objective.product()
    cut = build(encoder_config(product.config), product.state)
    dense, left = measure(teacher), measure(cut)
    if objective.options.target == "macs":
        return [1 - left.macs_per_second / dense.macs_per_second]
    if objective.options.target == "size":
        return [1 - left.params / dense.params]
    parts = [
        extractor_params(encoder.config, gate_counts(encoder.config)["channels"])
        for encoder in (teacher, cut)
    ]
    return [
        1 - parts[1] / parts[0],
        1 - (left.params - parts[1]) / (dense.params - parts[0]),
    ]


@pytest.mark.parametrize(
    ("target", "wanted", "gates"),
    [("size", 0.4, ALL), ("separate", 0.45, ALL), ("macs", 0.3, ALL + WHOLE)],
)
def test_a_run_ends_at_its_target(tmp_path, target, wanted, gates):
    teacher = build(BIG, random_state(BIG, 0))
    options = PruningOptions(
        gates=gates,
        target=target,
        sparsity=wanted,
        front_sparsity=0.2,
        targets=(1, 2),
        gate_lr=0.1,
    )
    objective, figures = train(ingredients(tmp_path, {}, teacher=teacher), options)
    targets = [0.2, wanted] if target == "separate" else [wanted]
    assert removed(objective, teacher) == pytest.approx(targets, abs=0.01)
    assert abs(figures["sparsity0"] - targets[0]) < 0.02


@pytest.fixture(scope="module")
def wave():
    """An encoder of the shape of `house_wave`: a head is a hundredth of it, a part a tenth."""
    card = yaml.safe_load((ROOT / "upstreams" / "cards" / "house_wave.yaml").read_text())
    config = encoder_config(card["config"])
    return build(config, random_state(config, 0))


@pytest.mark.parametrize("mean", [-4.0, 0.0, 4.0])
@pytest.mark.parametrize("gates", [ALL, ALL + WHOLE])
@pytest.mark.parametrize("target", ["size", "separate", "macs"])
def test_wherever_gates_end_the_target_is_met(wave, target, gates, mean):
    """A short run ends with gates that ask for far less or far more than the target."""
    options = PruningOptions(
        gates=gates, target=target, sparsity=0.6, front_sparsity=0.2, targets=(2,)
    )
    objective = Pruning(FrozenTeacher(wave), options, seed=0)
    some_gates(objective.gated, mean=mean)
    assert abs(objective.sparsities()[-1].item() - 0.6) > 0.02
    objective.begin(1)
    wanted = [0.2, 0.6] if target == "separate" else [0.6]
    assert removed(objective, wave) == pytest.approx(wanted, abs=0.005)


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"sparsity": 0.99}, "cannot be reached"),
        ({"sparsity": -0.1}, "cannot be reached"),
        ({"target": "speed"}, "key 'target'"),
        ({"gates": ["neurons"]}, "some of channels"),
        ({"targets": [7]}, "0 to 2"),
        ({"settle": 1.0}, "key 'settle'"),
    ],
)
def test_recipes_that_do_not_hold(tmp_path, config, told):
    teacher = build(WAVE, random_state(WAVE, 0))
    with pytest.raises(UsageError, match=told):
        prune.make(ingredients(tmp_path, {"targets": [2], **config}, teacher=teacher))


@pytest.mark.parametrize(
    ("changes", "gates", "told"),
    [
        ({"heads": (2, 0)}, ALL, "layer 1 has no attention"),
        ({"ffn": (0, 32)}, ALL, "layer 0 has no feed-forward part"),
        ({"heads": (2, 2), "relative_buckets": 32}, (*ALL, "attentions"), "prune 'heads'"),
    ],
)
def test_encoders_that_gates_do_not_fit(tmp_path, changes, gates, told):
    config = replace(WAVE, **changes)
    teacher = build(config, random_state(config, 0))
    with pytest.raises(UsageError, match=told):
        prune.make(ingredients(tmp_path, {"targets": [2], "gates": list(gates)}, teacher=teacher))


def test_one_side_may_be_without_gates_and_settling_may_be_left_out(tmp_path):
    teacher = build(MEL, random_state(MEL, 0))
    config = {"targets": [2], "gates": ["heads", "units"], "target": "separate", "settle": 0.0}
    objective = prune.make(ingredients(tmp_path, config, teacher=teacher))
    assert objective.stages == (1.0,)
    loss, figures = objective.loss(
        first_batch(ingredients(tmp_path, {})), replace(moment(), stage_fraction=0.5)
    )
    loss.backward()
    assert figures["sparsity0"] == 0 < figures["sparsity1"]
    product = objective.product()
    assert build(encoder_config(product.config), product.state).num_layers == 3


@pytest.mark.parametrize("gates", [ALL, ALL + WHOLE])
def test_gates_are_fixed_once_also_in_a_resumed_run(gates):
    def objective():
        teacher = FrozenTeacher(build(BIG, random_state(BIG, 0)))
        return Pruning(teacher, PruningOptions(gates=gates, targets=(2,)), seed=0)

    whole, again = objective(), objective()
    some_gates(whole.gated)
    whole.begin(1)
    fixed = whole.gated.gate_values()
    again.load_state_dict(whole.state_dict())
    again.begin(1)
    again.product()
    for kind in gates:
        values = zip(getattr(fixed, kind), getattr(again.gated.gate_values(), kind), strict=True)
        assert all(torch.equal(mine, theirs) for mine, theirs in values)


def test_channels_of_a_bank_cannot_be_pruned(tmp_path):
    teacher = build(MEL, random_state(MEL, 0))
    with pytest.raises(UsageError, match="not in 'mel'"):
        prune.make(ingredients(tmp_path, {"targets": [2]}, teacher=teacher))
