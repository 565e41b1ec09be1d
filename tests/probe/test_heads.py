"""The grid of heads: its updates are those of plain torch, field by field of the recipe."""

import itertools
import sys

import pytest
import torch
from memory_source import random_source
from torch import nn

from bench.config import Recipe
from bench.features.rows import Batch, moments
from bench.features.weighted_sum import Moments
from bench.probe.grids import Looped, Stacked, make_grid
from bench.probe.heads import Point, Probe, optimizer_of, parameter_groups, rate_factor
from bench.seeds import derive_seed
from downstreams.classify import UtteranceClassifier
from downstreams.ctc import CtcBlstm

RECIPE = Recipe(lr_grid=(1e-2,), steps=5, batch_size=4, eval_every=5, clip=1e3)
LABELS = ["a", "b", "c", "a"]
TEXTS = ["AB", "BA", "A", "B"]
LENGTHS = [9, 5, 7, 9]
OPTIMIZERS = {
    "adam": {"optimizer": "adam"},
    "adam with decay": {"optimizer": "adam", "weight_decay": 0.5},
    "adamw": {"optimizer": "adamw"},
    "adamw with decay": {"optimizer": "adamw", "weight_decay": 0.5},
}


def classifier(size):
    return UtteranceClassifier(size, 320, LABELS, projection=4)


def recogniser(size):
    return CtcBlstm(size, 320, TEXTS, projection=4, hidden=3, layers=1, dropout=0.5)


KINDS = {"stacked": (classifier, LABELS), "looped": (recogniser, TEXTS)}


def recipe_of(**fields):
    return RECIPE.model_copy(update=fields)


def torch_optimizer(parameters, recipe, lr):
    """The optimizer that a recipe names, straight from torch."""
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[recipe.optimizer]
    return kind(parameters, lr=lr, weight_decay=recipe.weight_decay, foreach=False)


def grid_of(kind="looped", recipe=RECIPE, rates=(1e-2,), seeds=(0,), z_scores=None):
    make_head, _ = KINDS[kind]
    return make_grid(random_source(LENGTHS), make_head, recipe, z_scores, rates, seeds)


def batch_of(seed=0):
    source = random_source(LENGTHS, seed=seed)
    return source.rows(range(len(source))).batch(range(len(source)))


def weights_of(probe):
    return {name: tensor.detach().clone() for name, tensor in probe.named_parameters()}


def encoded(kind, probe):
    return probe.head.encode(KINDS[kind][1])


def update(grid, kind, step=0, batches=None):
    seeds = {point.seed for point in grid.points}
    batches = batches or dict.fromkeys(seeds, batch_of())
    targets = dict.fromkeys(seeds, encoded(kind, grid.points[0].probe))
    return grid.update(step, batches, targets)


def assert_same(first, second, **tolerance):
    assert first.keys() == second.keys()
    for name in first:
        torch.testing.assert_close(first[name], second[name], **tolerance)


@pytest.mark.parametrize("lr", [1e-1, 1e-3])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_is_the_one_that_the_recipe_names(name, lr):
    """Five updates by given gradients: every kind, every decay, every rate ends elsewhere."""
    generator = torch.Generator().manual_seed(1)
    start = torch.randn(6, generator=generator)
    recipe = recipe_of(**OPTIMIZERS[name])
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    optimizer, reference = optimizer_of([ours], recipe, lr), torch_optimizer([theirs], recipe, lr)
    for _ in range(5):
        gradient = torch.randn(6, generator=generator)
        for parameter, stepping in ((ours, optimizer), (theirs, reference)):
            parameter.grad = gradient.clone()
            stepping.step()
    torch.testing.assert_close(ours.detach(), theirs.detach(), rtol=1e-5, atol=1e-6)
    assert all(group["fused"] for group in optimizer.param_groups)


@pytest.mark.parametrize("kind", ["adam", "adamw"])
def test_an_optimizer_works_without_the_compiler_of_torch(kind, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch._dynamo", None)  # an import fails
    parameter = torch.nn.Parameter(torch.ones(3))
    optimizer = optimizer_of([parameter], recipe_of(optimizer=kind), 0.1)
    parameter.grad = torch.ones(3)
    optimizer.step()
    optimizer.load_state_dict(optimizer.state_dict())
    optimizer.zero_grad()
    assert parameter.grad is None
    torch.testing.assert_close(parameter.detach(), torch.full((3,), 0.9))


def test_optimizers_differ_in_the_weights_that_they_leave():
    """Otherwise the test above could not tell them apart: decay of Adam is part of its gradient."""
    ends = {}
    for name, fields in OPTIMIZERS.items():
        parameter = nn.Parameter(torch.linspace(-1, 1, 6))
        optimizer = torch_optimizer([parameter], recipe_of(**fields), 0.1)
        for _ in range(5):
            parameter.grad = torch.linspace(1, 2, 6)
            optimizer.step()
        ends[name] = parameter.detach()
    same = {
        pair for pair in itertools.combinations(ends, 2) if torch.allclose(*map(ends.get, pair))
    }
    assert same == {("adam", "adamw")}  # without decay they are one


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "fields",
    [
        *OPTIMIZERS.values(),
        {"clip": 0.05},
        {"optimizer": "adamw", "weight_decay": 0.1, "clip": 0.1},
    ],
    ids=[*OPTIMIZERS, "clip", "all"],
)
def test_updates_of_a_grid_are_those_of_a_loop_in_plain_torch(kind, fields):
    """Three updates of the second seed at the second rate; dropout is drawn by seed and step."""
    recipe = recipe_of(**fields)
    grid = grid_of(kind, recipe, rates=(1e-1, 1e-2), seeds=(3, 4))
    probe = grid_of(kind, recipe, rates=(1e-2,), seeds=(4,)).points[0].probe
    optimizer = torch_optimizer(probe.parameters(), recipe, 1e-2)
    for step in range(3):
        batches = {3: batch_of(10 + step), 4: batch_of(20 + step)}
        losses = update(grid, kind, step, batches)
        torch.manual_seed(derive_seed(4, "dropout", step))
        optimizer.zero_grad()
        loss = probe.head.loss(probe(batches[4]), encoded(kind, probe))
        loss.backward()
        nn.utils.clip_grad_norm_(probe.parameters(), recipe.clip)
        optimizer.step()
        torch.testing.assert_close(losses[3], loss.detach(), rtol=1e-4, atol=1e-5)
    trained = grid.points[3].probe
    assert_same(weights_of(trained), weights_of(probe), rtol=1e-3, atol=1e-4)
    assert not torch.equal(trained.weighted_sum.logits, torch.zeros(2))


def test_dropout_is_drawn_by_seed_and_step():
    """Whatever was drawn before, one seed and one step give one mask; others give other masks."""

    def loss(seed, step):
        torch.manual_seed(seed + 100 * step)  # must not matter
        point = grid_of().points[0]
        point.seed = seed
        return float(update(Looped([point], clip=1.0), "looped", step))

    assert loss(0, 0) == loss(0, 0)
    assert len({loss(0, 0), loss(0, 1), loss(0, 2), loss(1, 0)}) == 4


@pytest.mark.parametrize("kind", KINDS)
def test_a_grid_has_every_rate_of_a_seed_from_the_same_start(kind):
    grid = grid_of(kind, rates=(1e-1, 1e-2, 1e-3), seeds=(5, 7))
    assert type(grid) is {"stacked": Stacked, "looped": Looped}[kind]
    rates, seeds = zip(*((point.lr, point.seed) for point in grid.points), strict=True)
    assert rates == (1e-1, 1e-2, 1e-3) * 2
    assert seeds == (5, 5, 5, 7, 7, 7)
    assert grid.clip == RECIPE.clip
    first, second, *_, last = (weights_of(point.probe) for point in grid.points)
    assert_same(first, second)
    assert not torch.equal(first["head.project.weight"], last["head.project.weight"])
    for point in grid.points:
        assert [group["lr"] for group in point.optimizer.param_groups] == [point.lr]
    torch.manual_seed(99)
    assert_same(first, weights_of(grid_of(kind, seeds=(5,)).points[0].probe))


@pytest.mark.parametrize("kind", KINDS)
def test_a_point_whose_gradient_is_not_finite_stops_and_the_others_go_on(kind):
    grid = grid_of(kind, rates=(1e-1, 1e-2), seeds=(0, 1))
    bad = batch_of()
    bad.stacked[0, 0, 0, 0] = torch.inf
    before = [weights_of(point.probe) for point in grid.points]
    losses = update(grid, kind, 0, {0: bad, 1: batch_of()})
    assert [point.diverged for point in grid.points] == [True, True, False, False]
    assert losses.shape == (4,)
    assert torch.isfinite(losses[2:]).all()
    update(grid, kind, 1)  # finite batches for all: who diverged stays as it was
    assert [point.diverged for point in grid.points] == [True, True, False, False]
    for point, start in zip(grid.points[:2], before[:2], strict=True):
        assert_same(weights_of(point.probe), start)
    for point, start in zip(grid.points[2:], before[2:], strict=True):
        assert not torch.equal(point.probe.weighted_sum.logits, start["weighted_sum.logits"])


@pytest.mark.parametrize("kind", KINDS)
def test_outputs_are_those_of_every_probe_and_need_no_gradient(kind):
    grid, batch = grid_of(kind, rates=(1e-1, 1e-2), seeds=(0, 1)), batch_of(5)
    update(grid, kind)
    for point in grid.points:
        point.probe.eval()
    outputs = grid.outputs(batch)
    assert len(outputs) == 4
    for point, output in zip(grid.points, outputs, strict=True):
        tensor = output if isinstance(output, torch.Tensor) else output.log_probs
        expected = point.probe(batch)
        expected = expected if isinstance(expected, torch.Tensor) else expected.log_probs
        torch.testing.assert_close(tensor, expected.detach())
        assert not tensor.requires_grad


def test_gradients_are_those_of_the_last_batch_alone():
    grid = grid_of("looped")
    update(grid, "looped", 0, {0: batch_of(1)})
    (point,) = grid.points
    point.optimizer = torch.optim.SGD(point.probe.parameters(), lr=0.0)
    update(grid, "looped", 1, {0: batch_of(2)})
    gradient = point.probe.weighted_sum.logits.grad.clone()
    update(grid, "looped", 1, {0: batch_of(2)})
    torch.testing.assert_close(point.probe.weighted_sum.logits.grad, gradient)


def test_a_probe_standardises_with_the_moments_of_training():
    source = random_source(LENGTHS, seed=3)
    statistics = moments(source)
    probe = grid_of("stacked", z_scores=statistics).points[0].probe
    batch = batch_of(3)
    expected = (batch.stacked - statistics.mean[:, None, None].float()) / (
        statistics.floored_std()[:, None, None].float()
    )
    scored = probe.standardized(batch)
    torch.testing.assert_close(scored.stacked, expected)
    assert torch.equal(scored.lengths, batch.lengths)


@pytest.mark.parametrize("kind", KINDS)
def test_z_scores_reach_the_updates(kind):
    statistics = Moments(torch.full((2, 3), 2.0), torch.full((2, 3), 4.0))
    grid = grid_of(kind, z_scores=statistics, rates=(1e-2, 1e-3))
    plain = grid_of(kind, rates=(1e-2, 1e-3))
    batch = batch_of(1)
    scored = Batch((batch.stacked - 2.0) / 4.0, batch.lengths)
    expected = update(plain, kind, 0, {0: scored})
    probe = grid.points[0].probe
    losses = update(grid, kind, 0, {0: probe.standardized(batch)})
    torch.testing.assert_close(losses, expected)


def test_a_head_that_pools_linearly_must_give_one_tensor_of_targets():
    grid = grid_of("stacked")
    with pytest.raises(TypeError, match="one tensor"):
        grid.update(0, {0: batch_of()}, {0: [torch.tensor(0)] * 4})


def test_a_new_point_has_no_best_state():
    probe = Probe(2, 3, classifier, None)
    point = Point(1e-2, 0, probe, optimizer_of(probe.parameters(), RECIPE, 1e-2))
    assert (point.best_step, point.best_value, point.best_state) == (0, None, None)
    assert not point.diverged


SCHEDULED = Recipe(
    lr_grid=(1e-2,), steps=20, batch_size=4, eval_every=10, weight_decay=0.5,
    decay="cosine", warmup=4, sum_rate=10.0,
)  # fmt: skip


def test_the_rate_rises_linearly_and_falls_as_a_cosine_to_zero():
    """The factors are those of torch's own schedulers, one after the other."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=16)
    expected = [0.2, 0.4, 0.6, 0.8]
    for _ in range(16):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        cosine.step()
    assert [rate_factor(SCHEDULED, step) for step in range(20)] == pytest.approx(expected)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.0)


def test_without_a_schedule_the_rate_stays():
    plain = SCHEDULED.model_copy(update={"decay": None, "warmup": 0})
    assert {rate_factor(plain, step) for step in range(20)} == {1.0}


def test_the_weighted_sum_has_a_rate_of_its_own():
    probe = Probe(3, 4, lambda size: UtteranceClassifier(size, 320, ["a", "b"]), None)
    groups = parameter_groups(probe, SCHEDULED, 1e-3)
    head, logits = optimizer_of(groups, SCHEDULED, 1e-3).param_groups
    assert (head["lr"], logits["lr"]) == pytest.approx((1e-3, 1e-2))
    assert (head["weight_decay"], logits["weight_decay"]) == (0.5, 0.0)
    assert logits["params"] == [probe.weighted_sum.logits]
    assert len(head["params"]) == 4


def test_recipes_of_old_cards_keep_their_digest():
    plain = SCHEDULED.model_copy(update={"decay": None, "warmup": 0, "sum_rate": 1.0})
    assert not {"decay", "warmup", "sum_rate"} & plain.model_dump(mode="json").keys()
