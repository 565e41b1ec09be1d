"""Listening to a condition: files in the folder that was asked for, and nowhere else."""

from pathlib import Path

import pytest
from own_data import write_csv, write_digits

from bench import cli

pytest.importorskip("matplotlib")


def test_an_id_that_is_a_path_writes_nothing_beside_the_data(tmp_path, monkeypatch):
    monkeypatch.setenv("SLIM_SUPERB_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    files = write_digits(tmp_path / "data")  # absolute paths in the table
    write_csv("in.csv", [{"path": p, "label": d, "speaker": s} for p, d, s in files])
    before = set(Path("data").iterdir())
    for words in (
        ["task", "init", "in.csv", "--out", "in.yaml"],
        ["data", "prepare", "--task-card", "in.yaml"],
        ["listen", "white-0db", "--task", "in-ks", "--track", "own", "--out", "heard"],
    ):
        assert cli.main(words) == 0
    assert set(Path("data").iterdir()) == before
    assert len(list(Path("heard").iterdir())) == 3
