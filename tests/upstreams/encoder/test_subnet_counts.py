"""Closed forms against modules that were built and counted; lists, budgets and plots."""

import json
import re
from types import SimpleNamespace

import pytest
import torch
from run_rows import record, row

from bench.cli import main
from bench.errors import UsageError
from bench.load.catalog import upstream_card
from bench.measure.macs import count
from bench.metrics.metric import METRICS
from bench.reports.run_table import mark_efficient, run_table
from bench.run.spec import RunSpec
from bench.session import Session
from bench.supernets.subnets import Budget, candidate, candidates, family_of
from bench.supernets.tradeoff import names_of, score_plot, tradeoff
from upstreams.encoder.encoder import Encoder
from upstreams.supernet.subnet import SearchSpace, subnet_config
from upstreams.supernet.subnet_counts import SubnetFamily


@pytest.fixture(scope="module", params=["lighthubert_small", "lighthubert_base"])
def family(request):
    return family_of(upstream_card(request.param))


def on_meta(family, subnet):
    with torch.device("meta"):
        return Encoder(subnet_config(family.supernet, subnet)).freeze()


def published_params(subnet):
    """The authors' arithmetic: front end, norm, mask vector, projection, position, layers."""
    d = subnet.embed
    total = 4_199_424 + 7_168 + 1_024 + 768 + 513 * d + d * (d // 16) * 128 + d + 2 * d
    for heads, ffn in zip(subnet.heads, subnet.ffn_widths, strict=True):
        a = 64 * heads
        total += 3 * (d * a + a) + a * d + d + 2 * d * ffn + ffn + d + 4 * d
    return total


def test_random_subnets_of_each_space_have_the_size_of_the_closed_form(family):
    """The module's own count, our closed form, and the authors' arithmetic."""
    drawn = list(family.sample(30, seed=5))
    assert len(set(drawn)) == 30
    for subnet in drawn:
        measured = sum(parameter.numel() for parameter in on_meta(family, subnet).parameters())
        assert measured == family.params(subnet) == published_params(subnet)


def test_macs_are_those_that_are_counted(family):
    for subnet in (family.ends()[0], *family.sample(1, seed=1)):
        for num_samples in (400, 16_001):
            actual = count(on_meta(family, subnet), num_samples).macs("plain")
            assert family.macs(subnet, num_samples) == actual


def test_a_space_is_enumerated_whole():
    space = SearchSpace((256, 384), (10, 11), (4, 6), (3.0,))
    whole = list(
        SubnetFamily(space, family_of(upstream_card("lighthubert_small")).supernet).everything()
    )
    assert len(set(whole)) == len(whole) == space.size() == 2 * (2**10 + 2**11)


def test_equal_layered_subnets(family):
    actual = candidates(family, Budget())
    space = family.space
    sizes = [len(getattr(space, key)) for key in ("embed", "layers", "heads", "ffn")]
    assert len(actual) == sizes[0] * sizes[1] * sizes[2] * sizes[3]
    assert [item.macs_per_second for item in actual] == sorted(i.macs_per_second for i in actual)


def test_samples_keep_to_the_budget_and_are_reproducible(family):
    middle = candidate(family, family.ends()[1])
    budget = Budget(0.8 * middle.params, 0.85 * middle.macs_per_second)
    actual = candidates(family, budget, sample=30, seed=3)
    assert len({item.variant for item in actual}) == 30
    assert all(budget.allows(item) for item in actual)
    assert candidates(family, budget, sample=30, seed=3) == actual
    assert candidates(family, budget, sample=30, seed=4) != actual


def test_budgets_that_cannot_be_kept(family):
    with pytest.raises(UsageError, match=r"the smallest has [0-9.]+ M parameters"):
        candidates(family, Budget(macs_per_second=2.0e9))
    smallest = candidate(family, family.ends()[0])
    with pytest.raises(UsageError, match="only 0 of 2 subnets within the budget in 400 draws"):
        candidates(family, Budget(params=smallest.params), sample=2)
    with pytest.raises(UsageError, match="use --max-params") as caught:
        candidates(family, Budget(macs_per_second=2.0e9), sample=50)
    # What is advised works: the first for the smallest, the other for as many as were asked for.
    params, macs, tenth = map(float, re.findall(r"[\d.]+e\+\d+", str(caught.value)))
    assert len(candidates(family, Budget(params, macs))) == 1
    assert len(candidates(family, Budget(macs_per_second=tenth), sample=50)) == 50
    with pytest.raises(UsageError, match="'fbank' has no subnets"):
        family_of(upstream_card("fbank"))


def test_the_command_lists(capsys, tmp_path):
    plot = tmp_path / "plane.svg"
    command = ["subnets", "list", "lighthubert_small", "--max-macs", "4.0e9", "--sample", "20"]
    assert main([*command, "--json", "--plot", str(plot)]) == 0
    actual = json.loads(capsys.readouterr().out)
    assert len(actual) == 20 and all(item["macs_per_second"] <= 4.0e9 for item in actual)
    assert "<svg" in plot.read_text()
    first = plot.read_bytes()
    assert main([*command, "--csv", "--plot", str(plot)]) == 0
    assert capsys.readouterr().out.startswith("variant,params,macs_per_second\n")
    assert plot.read_bytes() == first
    assert main(["subnets", "list", "lighthubert_small", "--sample", "0"]) == 2


@pytest.mark.parametrize(("metric", "values"), [("accuracy", (0.5, 0.4, 0.6)), ("wer", (5, 6, 4))])
def test_efficient_points(metric, values, tmp_path):
    assert METRICS[metric].higher_is_better == (metric == "accuracy")
    rows = [row(f"a@{i}", float(v), macs=10.0 + i, metric=metric) for i, v in enumerate(values)]
    points = mark_efficient(rows[::-1])
    assert [(p.upstream, p.efficient) for p in points] == [
        ("a@0", True),
        ("a@1", False),
        ("a@2", True),
    ]
    assert [line[0] for line in run_table(points).rows] == ["1*", "2", "3*"]
    score_plot(tmp_path / "curve.png", points, "ks")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(UsageError, match=r"an \.svg or a \.png"):
        score_plot(tmp_path / "curve.pdf", points, "ks")


def test_what_is_drawn_of_a_trade_off(monkeypatch, tmp_path):
    """Every point with its interval and its number in the table; the efficient ones joined."""
    from matplotlib.axes import Axes

    bars, lines, texts = [], [], []
    monkeypatch.setattr(Axes, "errorbar", lambda self, x, y, yerr, **k: bars.append((x, y, yerr)))
    monkeypatch.setattr(Axes, "plot", lambda self, x, y, **k: lines.append((x, y)))
    monkeypatch.setattr(Axes, "annotate", lambda self, text, at, **k: texts.append((text, at)))
    costs = [(1.0e9, 0.5), (1.0e9, 0.5), (2.0e9, 0.25), (3.0e9, 0.75)]
    points = mark_efficient([row(f"a@{i}", v, macs=macs) for i, (macs, v) in enumerate(costs)])
    score_plot(tmp_path / "curve.svg", points, "ks")
    assert bars[0] == ([1.0], [50.0], [[50.0], [50.0]]) and len(bars) == 4
    assert lines == [((1.0, 3.0), (50.0, 75.0))]
    assert texts == [("1, 2", (1.0, 50.0)), ("3", (2.0, 25.0)), ("4", (3.0, 75.0))]


def test_every_variant_is_a_run_of_its_own():
    runs = []

    def evaluate(spec, session):
        runs.append((spec.upstream, session))
        return SimpleNamespace(record=record(upstream=spec.upstream), path="ks-s0.json")

    names = names_of("lighthubert_small+untrained", ["min", "max,int8"])
    assert names == ["lighthubert_small@min+untrained", "lighthubert_small@max,int8+untrained"]
    session = Session(home="h")
    points = tradeoff(names, RunSpec("x", "ks"), session, evaluate=evaluate)
    assert runs == [(name, session) for name in names] and len(points) == 2
    with pytest.raises(UsageError, match="each once"):
        names_of("lighthubert_small", ["min", "min"])
    with pytest.raises(UsageError, match="without a variant"):
        names_of("lighthubert_small@min", ["max"])
