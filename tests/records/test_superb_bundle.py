"""Track superb to the board: from folders in the official layout, sent, checked, accepted."""

import csv
from dataclasses import replace

import pytest
from official_trees import TREES, corpora
from small_superb import make_small_cards

from bench.cli import main
from bench.measure import cost
from bench.records.bundle import opened
from bench.registry import corpus_module
from bench.run import job
from bench.submit.accept import accept
from bench.submit.verify import _remarks, check
from leaderboard.board.board import Stamp
from leaderboard.page.build import build_board

UPSTREAM = "fbank@deltas=0"


@pytest.fixture(scope="module")
def sent(tmp_path_factory):
    """A bundle of every task of the track, made by the commands; small trees are the corpora."""
    folder = tmp_path_factory.mktemp("superb")
    with pytest.MonkeyPatch.context() as patch:
        make_small_cards(folder, patch)
        patch.setattr(job, "real_time_factor", lambda upstream: 0.5)
        patch.setattr(cost, "REFERENCE", "fbank")  # quicker than HuBERT
        for make in TREES.values():
            make(folder / "corpora")
        for name in corpora():
            layout = corpus_module(name).CORPUS.layout
            parts = layout.read(layout.find(folder / "corpora"))
            for table, size in layout.sizes.items():
                whole = {"utterances": len(parts[table].clips)}
                patch.setitem(layout.sizes, table, size.model_copy(update=whole))
        runs = str(folder / "runs")
        for task in TREES:
            command = ["eval", UPSTREAM, task, "--track", "superb", "--out", runs]
            assert main([*command, "--data", str(folder / "corpora")]) == 0, task
        bundle = str(folder / "bundle.tar.gz")
        assert main(["submit", UPSTREAM, "--track", "superb", "--runs", runs, "--out", bundle]) == 0
        yield folder


def test_every_task_holds(sent, capsys):
    assert main(["verify", str(sent / "bundle.tar.gz")]) == 0
    said = capsys.readouterr().out
    assert f"{len(TREES)} records verified (rescored)" in said


@pytest.fixture(scope="module")
def checked(sent):
    """The bundle and the outcome of its checks."""
    with opened(sent / "bundle.tar.gz") as folder:
        yield check(folder, sent / "home")


def test_a_full_row_needs_the_tasks_of_superb_alone(checked):
    bundle, _ = checked
    assert {record.labels for record in bundle.records.values()} == {"official"}
    for left_out, remark in ((set(), None), ({"ks"}, "no records of ks: a partial row")):
        tasks = set(TREES) - {"slurp", "asv_test_selected"} - left_out
        records = {path: one for path, one in bundle.records.items() if one.task in tasks}
        lines = list(_remarks(replace(bundle, records=records)))
        assert [line for line in lines if "partial" in line] == ([remark] if remark else [])


def test_it_comes_on_the_board_with_every_task(checked, tmp_path):
    bundle, report = checked
    assert bundle is not None and not report.problems
    accept(bundle, tmp_path, "rescored")
    build_board(tmp_path / "results", tmp_path / "site", Stamp("", ""))
    with (tmp_path / "site/board.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["upstream"] == UPSTREAM]
    assert {row["task"] for row in rows} == set(TREES)
    assert {row["track"] for row in rows} == {"superb"}
    assert {row["verified"] for row in rows} == {"rescored"}
