"""The costs of a bundle: finite numbers, and those of the module."""

import json

import pytest
from bundles import MACS, PLAIN, cost, edit, one_line

from bench.measure.cost import Cost

NAN, INFINITE = float("nan"), float("inf")
TIMING = {"seconds": 10.0, "runs": 5, "rtf": 0.1, "rtf_iqr": 0.01}


@pytest.mark.parametrize(
    ("change", "key"),
    [
        (edit(selection__value=NAN), "selection.value"),
        (edit(selection__grid__0__value=NAN), "selection.grid.0.value"),
        (edit(scores__0__numerator=NAN), "scores.0.numerator"),
        (edit(scores__0__denominator=INFINITE), "scores.0.denominator"),
        (edit(cost__macs_per_second=NAN), "cost.macs_per_second"),
        (edit(cost__rtf=INFINITE), "cost.rtf"),
        (edit(head__layer_weights=[NAN]), "head.layer_weights.0"),
        (edit(provenance__seconds=NAN), "provenance.seconds"),
        (cost(macs_per_second=NAN), "macs_per_second"),
        (cost(timing=TIMING | {"rtf": NAN}), "timing.rtf"),
        (cost(reported={"params": INFINITE}), "reported.params"),
    ],
)
def test_no_number_is_nan_or_infinite(toy, folder, change, key):
    change(folder)
    (line,) = one_line(folder, toy.home)
    assert any(f"not a {what}: key '{key}': " in line for what in ("record", "cost report"))


def test_parameters_are_exact_and_macs_the_same_in_all_records(toy, folder, monkeypatch):
    million = Cost(1_000_000, 2e6, 3, 8, 320)
    monkeypatch.setattr("bench.submit.cost_check.measure", lambda upstream: million)
    cost(params=1_000_000, macs_per_second=2e6)(folder)
    for name in ("tone-s0", "voice-s0"):
        path = folder / f"records/{name}.json"
        data = json.loads(path.read_text("utf-8"))
        data["cost"] |= {"params": 1_000_000, "macs_per_second": 2e6}
        data["record_sha256"] = None
        path.write_text(json.dumps(data), encoding="utf-8")
    assert one_line(folder, toy.home) == []
    cost(params=1_000_001, macs_per_second=2e6)(folder)
    assert one_line(folder, toy.home) == ["cost.json: 1,000,001 parameters, 1,000,000 measured"]
    cost(params=1_000_000, macs_per_second=2e6, seconds=9.0)(folder)
    assert one_line(folder, toy.home) == ["cost.json: MACs of 9 s of input, 10 expected"]
    edit(cost__params=999_999)(folder)
    assert "tone-s0.json: 999,999 parameters, 1,000,000 measured" in one_line(folder, toy.home)
    edit(cost__macs_per_second=2_000_001.0)(folder)
    assert any("MACs a second differ" in line for line in one_line(folder, toy.home))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"buckets": MACS}, None),
        ({"buckets": []}, "MACs in the rules none;"),
        ({"buckets": [PLAIN, MACS[1] | {"total": 300_000}]}, "MACs (superb_slt2022, total)"),
        ({"buckets": [PLAIN | {"longer": 1}, MACS[1]]}, "MACs (plain, longer)"),
        ({"buckets": [MACS[1]]}, "MACs in the rules superb_slt2022;"),
        ({"buckets": [*MACS, PLAIN]}, "MACs in the rules plain,"),
        ({"stored_bytes": 9}, "9 stored bytes, 10 measured"),
        ({"peak_memory_bytes": 0}, "peak memory 0, a number above 0"),
        ({"timing": TIMING}, None),
        ({"timing": TIMING | {"rtf_iqr": 0.0}}, None),
        ({"timing": TIMING | {"rtf": 0.0}}, "timing.rtf 0, a number above 0"),
        ({"timing": TIMING | {"speedup": -2.0}}, "timing.speedup -2, a number above 0"),
    ],
)
def test_a_cost_report_is_what_the_module_costs(toy, folder, changes, expected):
    cost(**changes)(folder)
    problems = one_line(folder, toy.home)
    assert (not problems) if expected is None else expected in problems[0]


def test_a_time_of_a_record_is_above_0(toy, folder):
    edit(cost__rtf=-1.0)(folder)
    (line,) = one_line(folder, toy.home)
    assert line == "tone-s0.json: real-time factor -1, a number above 0 expected"
