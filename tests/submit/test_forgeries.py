"""What a sender may claim falsely is refused, or shown on the board as the sender's word."""

import json
import re
import shutil
from pathlib import Path

import pytest
from bundles import COST, about, cost, edit, one_line, send, write
from toy_track import evaluate

from bench.records.bundle import BundleCard
from bench.records.cost_report import CostReport
from bench.records.record import Record, RecordFile
from bench.submit.accept import accept
from bench.submit.verify import check
from leaderboard.board.reading import BoardFolders
from leaderboard.page.build import build_board, make_board

PAGE = Path(__file__).parents[2] / "docs/submitting.md"
HEAD = "records/tone-s0/head.safetensors"
TIMING = {"seconds": 10.0, "runs": 5, "rtf": 0.1, "rtf_iqr": 0.01, "reference_rtf": 1.0,
          "reference_iqr": 0.01, "speedup": 10.0}  # fmt: skip


def garbage(folder):
    (folder / HEAD).write_bytes(b"garbage")
    edit(head__sha256=None)(folder)


def tapped(folder):
    for path in (folder / "records").glob("*.json"):
        data = json.loads(path.read_text("utf-8")) | {"tap": "last", "record_sha256": None}
        path.write_text(json.dumps(data), encoding="utf-8")


REFUSED = {
    "tap": (tapped, "tap 'last'"),
    "head of one parameter": (edit(head__params=1), "a head of 1 parameters"),
    "weights on one layer": (edit(head__layer_weights=[1.0, 0.0, 0.0]), "not those of its head"),
    "weights of one layer": (edit(head__layer_weights=[1.0]), "1 layer weights, 3 expected"),
    "a step after the recipe": (edit(selection__step=10**9), "step 1000000000 is not the one"),
    "step 0": (edit(selection__step=0), "step 0 is not the one"),
    "a step between": (
        edit(selection__step=7, selection__grid__0__step=7, selection__grid__1__step=7),
        "best at step 7; dev was scored every",
    ),
    "steps below 0": (edit(selection__grid__1__step=-10), "best at step -10"),
    "no date": (edit(provenance__started="yesterday at noon"), "no ISO 8601 date"),
    "a date without a zone": (edit(provenance__started="2026-01-01T00:00:00"), "a date as 2026"),
    "a date in words": (edit(provenance__started="20260101T000000+0000"), "a date as 2026"),
    "a date to come": (edit(provenance__started="2099-01-01T00:00:00+00:00"), "in the future"),
    "seconds": (edit(provenance__seconds=-5.0), "seconds below 0"),
    "seconds of a stage": (edit(provenance__seconds_by_stage={"head": -1.0}), "seconds below 0"),
    "error": (edit(error="none"), "error 'none', None expected"),
    "rows left out": (edit(inputs__left_out=3), "left_out '3', 0 expected"),
    "a limit": (edit(limit=8), "no result"),
    "fewer updates": (edit(steps=5), "no result"),
    "metric of the choice": (edit(selection__metric="wer"), "selected by 'wer'"),
    "upstream card": (edit(inputs__upstream_card_sha256="0" * 64), "made by another card"),
    "cost of another": (cost(upstream="ge2e"), "cost.json: upstream 'ge2e', 'fbank' expected"),
    "uncounted": (edit(cost__uncounted=["fft"]), "operations that are not counted: fft; measured"),
    "no MACs": (cost(buckets=[]), "MACs in the rules none"),
    "layers": (cost(layers=99), "cost.json: layers '99', '3' expected"),
    "width": (cost(hidden_size=99), "cost.json: hidden_size '99', '8' expected"),
    "stride": (cost(stride=99), "cost.json: stride '99', '320' expected"),
    "counted on the moon": (cost(counted_on="moon"), "key 'counted_on'"),
    "figures of a paper": (cost(reported={"params": 1.0}), "not those of the card"),
    "measured by the board": (cost(sent_by="the board"), "cost.json: sent_by 'the board'"),
    "garbage for a head": (garbage, "not a file of tensors"),
    "an altered head": (write(HEAD, "garbage"), "head.safetensors: altered"),
    "a run without a record": (write("records/ks-s1/predictions/clean.jsonl", ""), "no record"),
    "predictions of nothing": (
        write("records/tone-s0/predictions/white-5db.jsonl", ""),
        "predictions of 'white-5db', a condition without scores",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_can_be_computed_again_is_refused(toy, folder, name):
    change, expected = REFUSED[name]
    change(folder)
    problems = one_line(folder, toy.home)
    assert any(expected in line for line in problems), problems


@pytest.mark.parametrize("has_digest", [True, False])
def test_swapped_heads_of_two_seeds_are_refused(toy, tmp_path, has_digest):
    evaluate(toy, seed=1)
    try:
        bundle = tmp_path / "bundle"
        assert send(toy, bundle).report.problems == []
    finally:
        path = toy.out / "toy/fbank/tone-s1.json"
        path.unlink()
        shutil.rmtree(path.with_suffix(""))
    other = bundle / "records/tone-s1/head.safetensors"
    content = (bundle / HEAD).read_bytes()
    (bundle / HEAD).write_bytes(other.read_bytes())
    other.write_bytes(content)
    if not has_digest:
        edit(head__sha256=None)(bundle)
    expected = "head.safetensors: altered" if has_digest else "layer weights are not those"
    assert any(f"tone-s0.json: {line}" for line in one_line(bundle, toy.home) if expected in line)


def test_a_copy_of_a_run_is_no_other_seed(toy, folder):
    """Its interval would lack the variance between head seeds."""
    source, copy = (folder / f"records/tone-s{seed}" for seed in (0, 1))
    shutil.copytree(source, copy)
    text = source.with_suffix(".json").read_text("utf-8")
    data = json.loads(text) | {"seed": 1, "record_sha256": None}
    copy.with_suffix(".json").write_text(json.dumps(data), encoding="utf-8")
    assert one_line(folder, toy.home) == [
        "tone-s1.json: has the head of tone-s0.json: no two trainings give one head"
    ]


def test_a_head_that_was_not_sent_is_a_remark(toy, folder):
    (folder / HEAD).unlink()
    report = check(folder, toy.home)[1]
    assert report.problems == []
    assert any("its layer weights are as its sender says" in line for line in report.remarks)


@pytest.mark.parametrize("sender", ["A. Body", ""])
def test_times_and_memory_of_a_sender_are_shown_as_such_and_not_ranked(
    toy, folder, tmp_path, sender
):
    fast = TIMING | {"rtf": 1e-9, "rtf_iqr": 0.0, "speedup": 1e9}
    cost(timing=fast, peak_memory_bytes=1, cpu="Abacus 3000")(folder)
    edit(cost__rtf=1e-300)(folder)
    about(submitted_by=sender)(folder)
    bundle, report = check(folder, toy.home)
    assert report.problems == []
    board = tmp_path / "leaderboard"
    accept(bundle, board, "rescored")
    made, _, _ = make_board(BoardFolders.beside(board / "results"))
    (view,) = made.views
    by_key = dict(zip([column.key for column in view.columns], view.cells[0], strict=True))
    for key in ("time", "memory"):
        assert by_key[key].value is None
        assert f"by {sender or 'its sender'} on Abacus 3000" in by_key[key].note
    build_board(board / "results", tmp_path / "site")
    page = (tmp_path / "site/index.html").read_text("utf-8")
    assert "on Abacus 3000, 1 thread" in page
    assert re.search(f"measured by {sender or 'its sender'}: float32 [^<]* MB of memory", page)


def test_a_report_of_the_board_stays(toy, folder, tmp_path):
    board = tmp_path / "leaderboard"
    bundle, _ = check(folder, toy.home)
    accept(bundle, board, "rescored")
    path = board / "costs/fbank.json"
    assert CostReport.model_validate_json(path.read_text()).sent_by == "A. Body"
    path.write_text(CostReport.model_validate(COST).model_dump_json())
    before = path.read_bytes()
    assert path not in accept(bundle, board, "rescored")
    assert path.read_bytes() == before


def fields(model, prefix=""):
    """Names of all fields, with those inside them; a tuple or an optional model is one level."""
    from bench.schema import _model_in

    for name, field in model.model_fields.items():
        inner = _model_in(field.annotation)
        if inner is None:
            yield prefix + name
        else:
            yield from fields(inner, f"{prefix}{name}.")


def test_the_page_says_of_every_field_how_it_is_checked():
    assert set(RecordFile.model_fields) - set(Record.model_fields) == {"record_sha256"}
    expected = {
        "record": [*fields(Record), "record_sha256"],
        "cost.json": list(fields(CostReport)),
        "bundle.yaml": list(fields(BundleCard)),
    }
    text = PAGE.read_text("utf-8")
    for title, names in expected.items():
        _, _, table = text.partition(f"| {title} | how it is checked |\n|---|---|\n")
        rows = [line.split(" | ") for line in table.partition("\n\n")[0].splitlines()]
        listed = [name for row in rows for name in re.findall(r"`([^`]+)`", row[0])]
        assert sorted(listed) == sorted(names)
        assert all(len(row) == 2 and len(row[1]) > 10 for row in rows)
