"""Robust distillation: who hears what, the adversarial terms, and where distortions come from."""

import math
from copy import deepcopy

import pytest
import torch
from recipe_toys import MEL, first_batch, ingredients, moment

from bench.errors import UsageError
from bench.make.recipe import make_distort
from upstreams.encoder.state import build, random_state
from upstreams.recipes.distillation import robust
from upstreams.recipes.distillation.adversary import Adversary, ramp, reverse

TINY = {"targets": [1, 2], "student": {"num_layers": 1}}


def louder(wav, _, number):
    """A distortion that shows which draw it was."""
    return wav * 2 + number / 2**31


@pytest.fixture
def make(tmp_path):
    teacher = build(MEL, random_state(MEL, 7))

    def objective(distort=louder, **options):
        config = {**TINY, "robust": options}
        return robust.make(ingredients(tmp_path, config, teacher=teacher, distort=distort))

    return objective


@pytest.fixture
def batch(tmp_path):
    return first_batch(ingredients(tmp_path, {}))


@pytest.mark.parametrize("setup", ["clean_teacher", "both_same", "both_independent"])
def test_who_hears_what(make, batch, setup):
    objective = make(setup=setup, distorted_share=0.5)
    seen = set()
    for step in range(6):
        mine, theirs, distorted = objective.inputs(batch, moment(step))
        for row, size in enumerate(batch.lengths.tolist()):
            clean, student, teacher = (b.wavs[row, :size] for b in (batch, mine, theirs))
            seen.add(bool(distorted[row]))
            if not distorted[row]:
                assert torch.equal(student, clean) and torch.equal(teacher, clean)
                continue
            assert torch.allclose(student - student.mean(), 2 * (clean - clean.mean()), atol=1e-5)
            assert torch.equal(teacher, clean) == (setup == "clean_teacher")
            assert torch.equal(teacher, student) == (setup == "both_same")
            assert (mine.wavs[row, size:] == 0).all()
    assert seen == {True, False}
    # What the loader distorts ahead is what the update would distort.
    ahead = objective.prepare(batch, moment(5).generator)
    assert torch.equal(objective.inputs(ahead, moment(5))[0].wavs, mine.wavs)
    assert torch.equal(objective.inputs(ahead, moment(5))[1].wavs, theirs.wavs)


def test_reversal_turns_the_gradient_around():
    x = torch.randn(3, requires_grad=True)
    (reverse(x, 0.5) * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert torch.allclose(x.grad, -0.5 * torch.tensor([1.0, 2.0, 3.0]))
    assert ramp(0.0) == 0 and ramp(0.5) == pytest.approx(2 / (1 + math.exp(-5)) - 1)


def gradients(kind, weight):
    torch.manual_seed(0)
    adversary = Adversary(4, kind, lr=1e-2, seed=0)
    pooled = torch.randn(6, 4, requires_grad=True)
    distorted = torch.tensor([True, False, True, False, True, True])
    term, error = adversary.term(pooled, distorted, weight)
    term.backward()
    return adversary, pooled, distorted, error


@pytest.mark.parametrize("kind", ["reversal", "alternating"])
def test_the_student_climbs_where_the_classifier_descends(kind):
    adversary, pooled, distorted, error = gradients(kind, 0.3)
    plain = pooled.detach().clone().requires_grad_(True)
    adversary.requires_grad_(False)
    reference = adversary.error(plain, distorted)
    reference.backward()
    assert error == pytest.approx(reference.item(), abs=1e-6)
    assert torch.allclose(pooled.grad, -0.3 * plain.grad, atol=1e-6)
    trained = adversary.inner.weight.grad is not None
    assert trained == (kind == "reversal")  # the other form has updates of its own


def test_the_classifier_learns_and_its_optimizer_is_in_the_checkpoint():
    adversary, pooled, distorted, _ = gradients("alternating", 0.3)
    before = adversary.error(pooled, distorted).item()
    for _ in range(10):
        adversary.learn(pooled, distorted)
    assert adversary.error(pooled, distorted).item() < before
    again = Adversary(4, "alternating", lr=1e-2, seed=9)
    again.load_state_dict(deepcopy(adversary.state_dict()))
    for one in (adversary, again):
        one.learn(pooled, distorted)
    assert torch.equal(adversary.inner.weight, again.inner.weight)


@pytest.mark.parametrize("domain", ["none", "alternating", "reversal"])
def test_a_robust_student_learns(make, batch, domain):
    objective = make(domain=domain, distorted_share=0.5, domain_weight=0.05)
    optimizer = torch.optim.AdamW(objective.groups(3e-3, 0.0))
    losses = []
    for step in range(24):
        _, figures = total, parts = objective.loss(batch, moment(step, fraction=step / 24))
        del figures
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        losses.append(parts["regression"])
    assert sum(losses[-4:]) < sum(losses[:4])
    assert ("domain" in parts) == (domain != "none")


def test_an_alternating_classifier_is_not_in_the_main_optimizer(make):
    objective = make(domain="alternating")
    own = {id(parameter) for parameter in objective.adversary.parameters()}
    main = {id(p) for group in objective.groups(1e-3, 0.0) for p in group["params"]}
    assert not own & main and main


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"setup": "setup1"}, "key 'robust.setup'"),
        ({"domain": "gan"}, "key 'robust.domain'"),
        ({"distorted_share": 0.0}, "key 'robust.distorted_share'"),
        ({"domain": "reversal", "distorted_share": 1.0}, "needs clean utterances"),
        ({"share": 1.0}, "unknown key 'robust.share'"),
    ],
)
def test_recipes_that_do_not_hold(make, options, told):
    with pytest.raises(UsageError, match=told):
        make(**options)


def test_distortions_are_needed_and_keep_the_frames(make, batch):
    with pytest.raises(UsageError, match="needs 'distortions'"):
        make(distort=None)
    shorter = make(distort=lambda wav, *_: wav[:-7], distorted_share=1.0)
    with pytest.raises(UsageError, match="changed the length"):
        shorter.inputs(batch, moment())


def test_only_what_is_seen_may_be_trained_on(tmp_path):
    with pytest.raises(UsageError, match="for tests only"):
        make_distort("distorted-unseen", "games:unlabelled/train", tmp_path)
    with pytest.raises(UsageError, match="did you mean"):
        make_distort("distorted-sean", "games:unlabelled/train", tmp_path)


def test_a_ladder_distorts_and_draws_anew(tmp_path):
    distort = make_distort("ladder-white", "games:unlabelled/train", tmp_path)
    wav = torch.sin(torch.arange(8_000) / 20) * 0.3
    one, same, other = (distort(wav, 0, number) for number in (0, 0, 1))
    assert torch.equal(one, same) and not torch.equal(one, other)
    assert one.shape == wav.shape and not torch.equal(one, wav)
