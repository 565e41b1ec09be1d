"""Every check of the contract can fail, and says why; the cards' upstreams pass."""

import pytest
import torch
from pydantic import ValidationError
from toys import ToyUpstream

from bench.api import Hidden
from bench.config import UpstreamCard
from bench.load.loader import load_upstream
from bench.measure.check import CHECKS, check, check_report
from bench.measure.claims import claim_problem
from bench.measure.cost import SLT2022_BUCKETS, measure, standard_macs
from bench.terminal.units import giga


class Altered(ToyUpstream):
    """The toy with its output passed through a function."""

    def __init__(self, alter):
        super().__init__()
        self.alter = alter

    def forward(self, wavs, lengths):
        return self.alter(super().forward(wavs, lengths), wavs)


def with_states(function):
    return lambda hidden, wavs: Hidden(tuple(map(function, hidden.states)), hidden.lengths)


def drop_state(hidden, wavs):
    return Hidden(hidden.states[:-1], hidden.lengths)


def uneven(hidden, wavs):
    return Hidden((*hidden.states[:-1], hidden.states[-1][..., :4]), hidden.lengths)


def one_frame_more(hidden, wavs):
    states = tuple(torch.cat([s, s[:, -1:]], dim=1) for s in hidden.states)
    return Hidden(states, hidden.lengths + 1)


def mean_over_padding(hidden, wavs):
    states = tuple(state - wavs.square().mean(dim=1)[:, None, None] for state in hidden.states)
    return Hidden(states, hidden.lengths)


def noisy(hidden, wavs):
    return Hidden(tuple(s + torch.rand_like(s) for s in hidden.states), hidden.lengths)


def log_of_power(hidden, wavs):
    log = wavs.abs().mean(dim=1).log()[:, None, None]
    return Hidden(tuple(state + log for state in hidden.states), hidden.lengths)


def raises(hidden, wavs):
    raise KeyError("no such thing")


def changed(**attributes):
    upstream = ToyUpstream()
    for name, value in attributes.items():
        setattr(upstream, name, value)
    return upstream


def unfrozen():
    upstream = ToyUpstream()
    upstream.first.weight.requires_grad_(True)
    return upstream


def training():
    upstream = ToyUpstream()
    upstream.layers[0].training = True
    return upstream


def card(**reported):
    return UpstreamCard(
        name="toy", title="Toy", family="baseline", load="x:y", license="MIT", reported=reported
    )


def failures(upstream, about=None):
    return {item.name: item.detail for item in check(upstream, about) if not item.ok}


class Attending(ToyUpstream):
    """The toy, with fused attention of one head over its last state."""

    def forward(self, wavs, lengths):
        states, frames = super().forward(wavs, lengths)
        last = torch.nn.functional.scaled_dot_product_attention(*[states[-1][:, None]] * 3)[:, 0]
        return Hidden((*states[:-1], last), frames)


def test_a_sound_toy_passes_everything():
    results = check(ToyUpstream(), card(params=2_712.0, macs_superb=FRAMES * 2_688.0))
    assert [item.name for item in results] == list(CHECKS)
    assert all(item.ok and item.detail and not item.hint for item in results), results


BROKEN = {
    "one state fewer than declared": (
        lambda: Altered(drop_state),
        "declared",
        "num_layers 3, found 2",
    ),
    "another width": (lambda: changed(hidden_size=9), "declared", "hidden_size 9, found 8"),
    "another stride": (lambda: changed(stride=160), "declared", "found 50"),
    "widths differ": (lambda: Altered(uneven), "shapes", "one shape"),
    "double precision": (
        lambda: Altered(with_states(torch.Tensor.double)),
        "shapes",
        "float32",
    ),
    "no Hidden": (lambda: Altered(lambda hidden, wavs: list(hidden)), "shapes", "found list"),
    "lengths in seconds": (
        lambda: Altered(lambda hidden, wavs: Hidden(hidden.states, hidden.lengths / 50)),
        "shapes",
        "int64",
    ),
    "T beyond the lengths": (
        lambda: Altered(lambda hidden, wavs: Hidden(hidden.states, hidden.lengths - 1)),
        "shapes",
        "T = 49",
    ),
    "a repeated last frame": (lambda: Altered(one_frame_more), "frame rule", "num_frames gives"),
    "norm over padding": (lambda: Altered(mean_over_padding), "padding", "differs by"),
    "random": (lambda: Altered(noisy), "deterministic", "state 0"),
    "a part in training mode": (training, "deterministic", "training mode"),
    "a gradient": (unfrozen, "gradients off", "first.weight"),
    "log of silence": (lambda: Altered(log_of_power), "finite", "silence"),
    "min_samples too small": (lambda: changed(min_samples=319), "min samples", ""),
    "min_samples too large": (lambda: changed(min_samples=640), "min samples", "639"),
    "min_samples none": (lambda: changed(min_samples=0), "min samples", "at least 1"),
    "not a number": (
        lambda: Altered(with_states(lambda s: s * torch.nan)),
        "padding",
        "not finite",
    ),
    "raises": (lambda: Altered(raises), "shapes", "KeyError"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_every_check_can_fail(name):
    build, expected, detail = BROKEN[name]
    found = failures(build())
    assert expected in found, found
    assert detail in found[expected]


FRAMES = sum(length // 320 for bucket in SLT2022_BUCKETS.values() for length in bucket)


@pytest.mark.parametrize(
    ("key", "which", "wrong"),
    [("params", "parameters", 2_730.0), ("macs_superb", "MACs", FRAMES * 2_600.0)],
)
def test_reported_figures_are_checked_but_a_variant_is_not(key, which, wrong):
    assert "%)" in failures(ToyUpstream(), card(**{key: wrong}))[which]
    assert not failures(ToyUpstream(), card())
    assert not failures(changed(variant="small"), card(**{key: wrong}))
    explained = card(**{key: wrong}).model_copy(update={"differs": {key: "the dog ate some."}})
    found = {item.name: item for item in check(ToyUpstream(), explained)}
    assert found[which].ok and found[which].detail.endswith("): the dog ate some.")


@pytest.mark.parametrize(
    ("params", "differs", "problem"),
    [
        (2_712.0, None, ""),
        (2_710.0, None, ""),  # three digits are reported
        (2_730.0, None, "not equal in 3 digits: correct the card or the module"),
        (2_730.0, "a mask embedding", ""),
        (2_712.0, "a mask embedding", "equal in 4 digits: remove 'params' from 'differs'"),
        (2_600.0, "a mask embedding", "differ by more than 1%"),
    ],
)
def test_a_reported_figure_is_equal_or_explained(params, differs, problem):
    """By the rule that `tests/load/test_cards.py` applies to the cards of the project."""
    explained = {"differs": {"params": differs} if differs else {}}
    about = card(params=params).model_copy(update=explained)
    assert claim_problem(about, "params", 2_712).startswith(problem)
    assert bool(problem) == ("parameters" in failures(ToyUpstream(), about))
    assert bool(problem) == bool(claim_problem(about, "params", 2_712))


def test_macs_are_compared_in_the_rule_that_the_card_names():
    upstream = Attending()
    plain, official = (item.total for item in standard_macs(upstream))
    assert official > 1.01 * plain
    for said, rule, ok in (
        (plain, "plain", True),
        (official, "plain", False),
        (official, "superb_slt2022", True),
        (plain, "superb_slt2022", False),
    ):
        about = card(macs_superb=float(f"{said:.3e}")).model_copy(update={"macs_rule": rule})
        assert ("MACs" not in failures(upstream, about)) == ok


def test_macs_without_a_claim_are_those_of_the_cost_report():
    upstream = load_upstream("house_wave+untrained").upstream
    wanted = giga(measure(upstream).macs_per_second)
    assert wanted != giga(measure(upstream, seconds=1.0).macs_per_second)
    (line,) = (result.detail for result in check(upstream) if result.name == "MACs")
    assert wanted in line


def test_what_a_card_explains_it_reports():
    with pytest.raises(ValidationError, match="'differs' explains params, not in 'reported'"):
        UpstreamCard.model_validate(card().model_dump() | {"differs": {"params": "why"}})


def test_all_checks_were_broken_once():
    assert {expected for _, expected, _ in BROKEN.values()} | {"parameters", "MACs"} == set(CHECKS)


def test_table_shows_hints_for_failures_only():
    text = "\n".join(map(str, check_report(check(unfrozen()))))
    assert "FAILED\tgradients off" in text and "gradients off: return self.freeze()" in text
    assert "FAILED" not in str(check_report(check(ToyUpstream())))


@pytest.mark.parametrize("name", ["fbank", "ge2e+untrained", "house_whisper_ofa@min+untrained"])
def test_upstreams_of_the_cards_keep_the_contract(name):
    loaded = load_upstream(name)
    results = check(loaded.upstream, loaded.card)
    assert all(item.ok for item in results), results
