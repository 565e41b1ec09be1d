"""Track superb from a folder in the official layout to a record, through the command line."""

import json
import time

import pytest
import torch
from accounting import assert_planned, count_run
from official_trees import TREES, librispeech, lose_files, speech_commands_v1
from small_superb import make_small_cards

from bench import registry
from bench.cli import main
from bench.measure.cost import Cost
from bench.records.record import read_record
from bench.run import job, plan
from bench.run.plan import plan_run
from bench.run.spec import RunSpec
from bench.session import Session


@pytest.fixture
def small_cards(tmp_path, monkeypatch):
    """The cards of the track with little to train, and costs and times that nobody waits for."""
    make_small_cards(tmp_path, monkeypatch)
    cost = Cost(params=1, macs_per_second=2.0, layers=1, hidden_size=80, stride=160)
    monkeypatch.setattr(job, "measure", lambda upstream: cost)
    monkeypatch.setattr(job, "real_time_factor", lambda upstream: 0.5)
    monkeypatch.setattr(plan, "_update_seconds", lambda *_: 0.001)
    return tmp_path


@pytest.mark.parametrize("task", list(TREES))
def test_a_task_runs_from_a_part_of_its_folder_as_planned(task, small_cards, capsys, monkeypatch):
    data, home, out = (small_cards / name for name in ("corpora", "home", "runs"))
    TREES[task](data)
    lose_files(task, data)
    asked = RunSpec("fbank@deltas=0", task, "superb", limit=8, steps=5)
    before = plan_run(asked, (0,), Session(home=home, out=out, data=data))
    done = count_run(monkeypatch)
    command = ["eval", "fbank@deltas=0", task, "--track", "superb", "--out", str(out)]
    command += ["--limit", "8", "--steps", "5"]
    code = main([*command, "--data", str(data)])
    said = capsys.readouterr()
    assert code == 0, said.err
    assert_planned(before, done, home)
    (path,) = (out / "superb" / "fbank@deltas=0").glob("*.json")
    record = read_record(path)
    assert path.stem == f"{task}-s0-limit8-steps5" and (record.limit, record.steps) == (8, 5)
    assert "limited to 8 utterances a split and 5 updates: a smoke test, no result" in said.out
    assert record.track == "superb" and record.labels == "unverified"
    assert "on a part of the official corpus" in said.out
    card = registry.task_card(task, "superb")
    assert {score.metric for score in record.scores} == set(card.metrics)
    assert {score.condition for score in record.scores} == set(card.conditions)
    assert record.selection.metric == card.selects_by
    assert record.selection.lr in card.recipe.lr_grid
    if card.recipe.explore is None:
        assert record.selection.explored == ()
    else:
        assert [point.lr for point in record.selection.explored] == list(card.recipe.lr_grid)
        assert all(point.step <= 3 for point in record.selection.explored)
        assert len(record.selection.grid) == 1 and record.selection.grid[0].step <= 5
    # The folder is remembered, and what is done is done.
    assert main(command) == 0
    assert "already done" in capsys.readouterr().err
    assert main(["submit", "fbank@deltas=0", "--track", "superb", "--runs", str(out)]) == 3
    assert "1 records, all of smoke tests" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("task", list(TREES))
def test_a_real_head_runs_a_smoke_test_in_minutes(task, tmp_path, monkeypatch):
    """The published sizes, as a user without a GPU tries them."""
    monkeypatch.setenv("SLIM_SUPERB_HOME", str(tmp_path / "home"))
    TREES[task](tmp_path / "corpora")
    command = ["eval", "fbank@deltas=0", task, "--track", "superb", "--out", str(tmp_path / "runs")]
    begin = time.process_time()
    assert (
        main([*command, "--data", str(tmp_path / "corpora"), "--limit", "8", "--steps", "2"]) == 0
    )
    assert time.process_time() - begin < 300


def test_a_finished_run_is_scored_with_a_language_model(small_cards, capsys, monkeypatch):
    pytest.importorskip("flashlight.lib.text", reason="the extra 'lm' is not installed")
    librispeech(small_cards / "corpora")
    words = ("THE", "CAT'S", "MAT", "NUMBER", "A", "B", "C", "D")
    lexicon, lm = small_cards / "lexicon.lst", small_cards / "2-gram.arpa"
    lexicon.write_text("".join(f"{word}\t{' '.join(word)} |\n" for word in words))
    grams = "\n".join(f"-1.0\t{word}\t-0.3" for word in ("<s>", "</s>", "<unk>", *words))
    lm.write_text(
        "\\data\\\nngram 1=11\nngram 2=1\n\n"
        f"\\1-grams:\n{grams}\n\n\\2-grams:\n-0.1\tTHE CAT'S\n\n\\end\\\n"
    )
    command = ["eval", "fbank@deltas=0", "asr", "--track", "superb", "--limit", "8"]
    command += ["--data", str(small_cards / "corpora"), "--out", str(small_cards / "runs")]
    assert main(command) == 0
    (path,) = (small_cards / "runs/superb/fbank@deltas=0").glob("*.json")
    before = path.read_bytes()
    asked = ["score-lm", str(path), "--lm", str(lm), "--lexicon", str(lexicon)]
    assert main(asked) == 0, capsys.readouterr().err
    assert path.read_bytes() == before
    found = json.loads((path.with_suffix("") / "lm" / "scores.json").read_text())
    assert found["search"]["lm_weight"] == 2.0 and found["run"] in before.decode()
    pairs = {(score["condition"], score["metric"]) for score in found["scores"]}
    assert pairs == {
        (name, metric) for name in ("dev", "clean", "other") for metric in ("wer", "cer")
    }
    assert all(score["denominator"] > 0 for score in found["scores"])
    assert main([*asked[:-1], "none.lst"]) == 3
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for command in (asked, ["score-conditions", str(path), "--conditions", "gsm"]):
        capsys.readouterr()
        assert main([*command, "--device", "cuda"]) == 3
        assert "finds no GPU" in capsys.readouterr().err


def test_the_best_rate_is_trained_from_the_beginning(small_cards):
    """What is trained in full after exploring is what that rate alone gives."""
    speech_commands_v1(small_cards / "corpora")
    command = ["eval", "fbank@deltas=0", "ks", "--track", "superb", "--limit", "8"]
    command += ["--data", str(small_cards / "corpora"), "--out", str(small_cards / "runs")]
    assert main(command) == 0
    folder = small_cards / "runs/superb/fbank@deltas=0"
    searched = read_record(folder / "ks-s0-limit8.json")
    lr = searched.selection.lr
    values = {point.lr: point.value for point in searched.selection.explored}
    assert values[lr] == max(value for value in values.values() if value is not None)
    assert main([*command, "--lr", f"{lr:g}"]) == 0
    fixed = read_record(folder / f"ks-s0-lr{lr:g}-limit8.json")
    assert fixed.selection.explored == ()
    assert fixed.selection.grid == searched.selection.grid
    assert fixed.predictions_sha256 == searched.predictions_sha256
