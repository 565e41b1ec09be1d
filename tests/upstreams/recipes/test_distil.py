"""Distillation: losses against float64 references, starts, shapes, the discriminative loss."""

import math
from dataclasses import replace

import pytest
import torch
from recipe_toys import MEL, first_batch, ingredients, moment, stream
from toys import ToyUpstream

from bench.errors import UsageError
from upstreams.encoder.state import build, random_state
from upstreams.recipes.distillation import distil
from upstreams.recipes.distillation.codes import CodeLoss, clustered_head, teacher_heads
from upstreams.recipes.distillation.students import (
    initial_state,
    regression_loss,
    standardised,
    student_config,
)
from upstreams.recipes.distillation.teacher import FrozenTeacher
from upstreams.recipes.pretraining import pretrain
from upstreams.recipes.pretraining.pretrain import UnitHead, config_section
from upstreams.recipes.training.export import write_weights

ENCODER = config_section(MEL)
TINY = {"targets": [1, 2], "student": {"num_layers": 1}}


@pytest.fixture
def teacher():
    return build(MEL, random_state(MEL, 7))


@pytest.fixture
def taught(tmp_path, teacher):
    """Ingredients with a teacher whose file keeps unit heads."""
    made = pretrain.make(
        ingredients(tmp_path, {"encoder": ENCODER, "codebooks": ["mfcc:8", "context:6"]})
    )
    file = tmp_path / "teacher.safetensors"
    write_weights(made.product(), file)
    return lambda config: ingredients(tmp_path, config, teacher=teacher, file=file)


def test_regression_loss_by_hand():
    predicted = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    target = torch.tensor([[1.0, 0.0], [2.0, 0.0]])
    # Distances 0 0 2 2, mean 1; cosines 1 and 0.
    expected = 1.0 + 0.5 * (math.log(1 + math.exp(-1)) + math.log(2)) / 2
    assert regression_loss(predicted, target, 0.5).item() == pytest.approx(expected, abs=1e-6)


def test_regression_loss_has_the_gradient_of_its_definition():
    generator = torch.Generator().manual_seed(0)
    predicted = torch.randn(4, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    target = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: regression_loss(x, target, 0.7), (predicted,))


def test_unit_head_is_a_softmax_of_cosines():
    head = UnitHead(3, 2, 4).double()
    head.draw(torch.Generator().manual_seed(0))
    x = torch.randn(5, 3, dtype=torch.float64)
    projected = x @ head.projection.weight.T + head.projection.bias
    cosine = torch.stack([torch.cosine_similarity(projected, code[None]) for code in head.codes], 1)
    assert torch.allclose(head(x), cosine / 0.1, atol=1e-12)


@pytest.mark.parametrize("temperature", [0.1, 0.3])
def test_code_loss_against_a_float64_reference_and_its_gradient(temperature):
    generator = torch.Generator().manual_seed(1)
    teachers = [UnitHead(3, 2, 4), UnitHead(3, 2, 5)]
    for head in teachers:
        head.draw(generator)
        head.requires_grad_(False)
    loss = CodeLoss(teachers, 6, 0, temperature).double()
    student = torch.randn(7, 6, generator=generator, dtype=torch.float64, requires_grad=True)
    states = torch.randn(7, 3, generator=generator, dtype=torch.float64)
    expected = 0.0
    for mine, theirs in zip(loss.students, loss.teachers, strict=True):
        says, thinks = (
            head(x) * 0.1 / temperature for head, x in ((theirs, states), (mine, student))
        )
        wanted = says.exp() / says.exp().sum(1, keepdim=True)
        told = thinks.exp() / thinks.exp().sum(1, keepdim=True)
        expected = expected - (wanted * told.log()).sum(1).mean()
    assert torch.allclose(loss(student, states), expected, atol=1e-10)
    assert torch.autograd.gradcheck(lambda x: loss(x, states), (student,))
    trained = {name for name, p in loss.named_parameters() if p.requires_grad}
    assert trained == {
        f"students.{index}.projection.{kind}" for index in (0, 1) for kind in ("weight", "bias")
    }


def test_a_student_that_says_what_the_teacher_says_has_its_entropy():
    head = UnitHead(3, 2, 4)
    head.draw(torch.Generator().manual_seed(0))
    loss = CodeLoss([head.requires_grad_(False)], 3, seed=0)
    loss.students[0].load_state_dict(head.state_dict())
    states = torch.randn(9, 3)
    entropy = torch.distributions.Categorical(logits=head(states)).entropy().mean()
    assert loss(states, states).item() == pytest.approx(entropy.item(), abs=1e-5)


def test_a_student_starts_from_the_layers_taken(teacher):
    config = student_config(MEL, {"num_layers": 1})
    state = initial_state(config, teacher, take=[1], seed=0)
    assert torch.equal(state["layers.0.ffn_in.weight"], teacher.layers[1].ffn_in.weight)
    assert torch.equal(state["projection.weight"], teacher.projection.weight)
    nothing = initial_state(config, teacher, take=[], seed=0)
    assert torch.equal(nothing["projection.weight"], random_state(config, 0)["projection.weight"])


def test_student_shapes():
    thin = student_config(MEL, {"embed_dim": 8, "heads": 1, "ffn": 16})
    assert (thin.heads, thin.ffn, thin.embed_dim) == ((1, 1), (16, 16), 8)
    assert student_config(MEL, {"num_layers": 3}).heads == (2, 2, 2)
    assert student_config(MEL, {}) == replace(MEL, mask_embedding=0)


def test_a_student_learns_and_the_teacher_stays(taught, teacher):
    source = taught({**TINY, "take": [0], "code_weight": 0.5, "start_prob": 0.2, "span": 2})
    objective = distil.make(source)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    assert not any(name.startswith("teacher") for name in objective.state_dict())
    batch = first_batch(source)
    optimizer = torch.optim.AdamW(objective.groups(3e-3, 0.0))
    losses = []
    for _ in range(25):
        loss, figures = objective.loss(batch, moment(0))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0] and set(figures) == {"regression", "codes"}
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    product = objective.product()
    assert product.state.keys() == random_state(student_config(MEL, TINY["student"]), 0).keys()


def test_codes_of_a_teacher_without_heads_are_centres_of_its_last_state(tmp_path, teacher):
    config = {**TINY, "code_weight": 0.5, "clusters": 4, "start_prob": 0.2, "span": 2}
    source = ingredients(tmp_path, config, teacher=teacher)
    (head,) = distil.make(source).codes.teachers
    clips = [source.read(clip, 0, clip.num_samples)[None] for clip in source.clips]
    with torch.no_grad():
        states = torch.cat([teacher(wav, torch.tensor([wav.shape[1]]))[0][-1][0] for wav in clips])
    assert torch.allclose(
        head.projection(states).mean(dim=0), torch.zeros(MEL.embed_dim), atol=1e-4
    )
    units = torch.cdist(states - states.mean(dim=0), head.codes).argmin(dim=1)
    for unit, code in enumerate(head.codes):  # of mini-batches: near the mean of its members
        members = (states - states.mean(dim=0))[units == unit]
        assert (members.mean(dim=0) - code).norm() < 0.2 * members.std(dim=0).norm()
    stored = FrozenTeacher(teacher, lambda indices: [stored_states(teacher, clips[indices[0]])])
    assert torch.allclose(clustered_head(source, stored, 4).codes, head.codes, atol=1e-5)
    for size in (1, 2_000):
        with pytest.raises(UsageError, match=f"'clusters': {size}: expected 2 to"):
            clustered_head(source, stored, size)


def stored_states(teacher, wav):
    with torch.no_grad():
        return torch.stack(teacher(wav, torch.tensor([wav.shape[1]]))[0])[:, 0]


def test_a_copy_of_the_teacher_could_not_be_better(taught):
    """Heads that give the teacher's own (normed) states have distance zero."""
    objective = distil.make(taught({"targets": [2], "take": [0, 1]}))
    batch = first_batch(taught({}))
    targets = objective.teacher.states_of(batch).states
    states, valid, _ = objective.student_states(batch, moment())
    assert all(
        torch.allclose(mine[valid], theirs[valid], atol=1e-5)
        for mine, theirs in zip(states, targets, strict=True)
    )


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({**TINY, "targets": [9]}, "0 to 2, found"),
        ({**TINY, "targets": []}, "0 to 2, found"),
        ({**TINY, "take": [5]}, "one of the teacher's 2 layers"),
        ({"targets": [1], "student": {"embed_dim": 8}, "take": [0, 1]}, "leave it empty"),
        ({**TINY, "code_weight": 1.0}, "needs masked frames"),
        ({**TINY, "code_temperature": 0.0}, "key 'code_temperature'"),
        ({**TINY, "lambda": 1.0}, "unknown key 'lambda'"),
        ({"targets": [1], "student": {"conv_layers": [[40, 400, 160]]}}, "stride is 320 samples"),
    ],
)
def test_recipes_that_do_not_hold(taught, config, told):
    with pytest.raises(UsageError, match=told):
        distil.make(taught(config))


def test_teachers_that_cannot_teach(tmp_path, teacher):
    with pytest.raises(UsageError, match="none given"):
        distil.make(ingredients(tmp_path, TINY))
    taking = {"targets": [1], "student": {"num_layers": 1}, "take": [0]}
    with pytest.raises(UsageError, match="layers of a ToyUpstream"):
        distil.make(ingredients(tmp_path, taking, teacher=ToyUpstream()))
    file = tmp_path / "bare.safetensors"
    write_weights(pretrain.TrainedUpstream({}, random_state(MEL, 7)), file)
    config = {**TINY, "code_weight": 1.0, "start_prob": 0.1}
    with pytest.raises(UsageError, match="needs unit heads in the teacher"):
        distil.make(ingredients(tmp_path, config, teacher=teacher, file=file))


def test_a_teacher_of_another_architecture_with_normed_dimensions(tmp_path):
    """The toy has one frame more than the student; means of its dimensions are no target."""
    shape = config_section(replace(MEL, mask_embedding=0))
    config = {"targets": [0, 2], "student": shape, "target_norm": "dimensions"}
    source = ingredients(tmp_path, config, teacher=ToyUpstream())
    objective = distil.make(source)
    data = stream(source)
    batch = data.load(data.plan(0)[0])
    loss, _ = objective.loss(batch, moment())
    assert bool(loss.isfinite())
    frames, width = 50, 8
    states = [torch.randn(2, frames, width) * 3 + 5]
    (normed,) = standardised(states, torch.ones(2, frames, dtype=bool), "dimensions")
    assert torch.allclose(normed.mean(dim=0), torch.zeros(width), atol=1e-5)
    assert torch.allclose(normed.std(dim=0, correction=0), torch.ones(width), atol=1e-5)


def test_unit_heads_of_huberts_own_file(tmp_path):
    generator = torch.Generator().manual_seed(0)
    tensors = {
        "final_proj.weight": torch.randn(4, 16, generator=generator),
        "final_proj.bias": torch.randn(4, generator=generator),
        "label_embs_concat": torch.randn(8, 4, generator=generator),
    }
    torch.save({"model": tensors}, tmp_path / "hubert.pt")
    (head,) = teacher_heads(tmp_path / "hubert.pt", MEL)
    assert torch.equal(head.codes, tensors["label_embs_concat"])
    assert torch.equal(head.projection.weight, tensors["final_proj.weight"])
