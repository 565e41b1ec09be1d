"""A newcomer's transcript: from an empty folder to a number, a comparison, own data, own model.

In this process on toys; as a slow test with the wheel, in its own environment, on real speech.
"""

import ast
import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import pytest
from newcomer import ROOT, begin, blocks, said
from own_data import QUICK, write_csv, write_digits

from bench.paths import home
from bench.records.record import read_record

# Sizes of the Free Spoken Digit Dataset: 10 digits, 6 speakers; it has 50 takes of each.
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SMALL_HEAD = QUICK + "head_conf: {projection: 8, hidden: 8, layers: 1}\n"
FIRST_NUMBER_S = 60  # with the packages and the corpus there
MODEL = """
import bench, torch

class Frames(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.map = torch.nn.Linear(320, 16)
    def forward(self, wav):
        return [self.map(wav.unfold(1, 320, 320)).tanh()]

records = bench.evaluate(Frames(), {task!r}, track={track!r}, seeds=(0, 1), name="frames")
comparison = bench.compare(records, "house_whisper_ofa", tasks={task!r}, track={track!r})
print(comparison.lines()[0])
"""


def write_transcripts(folder):
    """A table of the digits with what is said."""
    rows = [
        {"path": path.name, "text": WORDS[digit], "speaker": speaker}
        for path, digit, speaker in write_digits(folder)
    ]
    return write_csv(folder / "read.csv", rows)


def gone_card():
    """What a comparison says of runs whose task card was removed."""
    Path("sid.yaml").rename("moved.yaml")
    with contextlib.redirect_stderr(io.StringIO()) as err:
        said("compare", "house_whisper_ofa", "fbank", "--track", "own")  # only ks is of both
        said("compare", "house_whisper_ofa", "fbank", "--track", "own", "--task", "ks,sid")
    Path("moved.yaml").rename("sid.yaml")
    return err.getvalue()


@pytest.fixture(scope="module")
def transcript(tmp_path_factory):
    """What the commands of a newcomer print, by step; encoders are the shipped ones."""
    texts = {}
    with pytest.MonkeyPatch.context() as patch:
        begin(tmp_path_factory.mktemp("newcomer"), patch)
        for name in ("house_whisper_distil", "house_whisper_ofa"):
            texts[name] = said("eval", name, "ks", "--seeds", "0,1", "-q")
        texts["json"] = said("eval", "house_whisper_distil", "ks", "--seeds", "0,1", "--json", "-q")
        texts["compare"] = said("compare", "house_whisper_distil", "house_whisper_ofa")
        write_transcripts(Path("digits"))
        for task in ("ks", "sid"):
            said("task", "init", "digits", "--task", task, "--name", task, "--out", f"{task}.yaml")
        said("task", "init", "digits/read.csv", "--name", "read", "--out", "read.yaml")
        for task in ("ks", "sid", "read"):
            with Path(f"{task}.yaml").open("a") as card:
                card.write(SMALL_HEAD if task == "read" else QUICK)
            said("eval", "house_whisper_ofa", "--task-card", f"{task}.yaml", "--seeds", "0,1", "-q")
        said("eval", "fbank", "ks", "--track", "own", "--seeds", "0,1", "-q")
        texts["own"] = said(
            "compare", "house_whisper_ofa", "fbank", "--track", "own", "--task", "ks"
        )
        texts["gone"] = gone_card()
        texts["show"] = said("show", "--track", "own")
        scope = {"__name__": "__main__"}
        exec(MODEL.format(task="sid", track="own"), scope)
        texts["memory"] = scope["comparison"]
        exec("\n".join(blocks("README.md", "python")), scope)
        texts["readme"] = scope["records"][0].upstream
    return texts


def test_a_number_stands_beside_chance(transcript):
    assert re.search(
        r"this run\thouse_whisper_distil\t[\d.]+ \[", transcript["house_whisper_distil"]
    )
    assert "chance\tignores the sound" in transcript["house_whisper_distil"]
    assert (
        "slim-superb compare house_whisper_ofa house_whisper_distil"
        in transcript["house_whisper_ofa"]
    )


def test_two_models_are_compared_with_a_p_value_in_three_commands(transcript):
    title, *_ = transcript["compare"].splitlines()
    assert title.startswith("track quick, clean: house_whisper_distil (your runs, 2 head seeds)")
    assert re.search(r"^ks\taccuracy\t.*\](\t[<\d.]+){2}\t", transcript["compare"], re.MULTILINE)


def test_records_of_seeds_are_one_json_document(transcript):
    records = json.loads(transcript["json"])
    assert [record["seed"] for record in records] == [0, 1]


def test_own_tasks_are_shown_and_compared(transcript):
    rows = [line.split("\t") for line in transcript["show"].splitlines()]
    named = [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]
    assert {row["task"] for row in named} == {"ks", "sid", "read"} and len(named) == 8
    assert transcript["own"].startswith(
        "track own, clean: house_whisper_ofa (your runs, 2 head seeds)"
    )
    assert re.search(r"^ks\taccuracy\t.*\](\t[<\d.]+){2}\t", transcript["own"], re.MULTILINE)


def test_runs_whose_task_card_is_gone_are_left_out_of_a_comparison(transcript):
    assert transcript["gone"].count("runs of task sid are left out: ") == 1
    assert "--task-card FILE" in transcript["gone"]


def test_a_model_in_memory_is_compared_on_own_data(transcript):
    (line,) = transcript["memory"].lines()
    assert line["first"].startswith("memory:frames-") and line["second"] == "house_whisper_ofa"
    assert 0 <= line["p_holm"] <= 1
    assert transcript["readme"].startswith("memory:frames-")


@pytest.fixture(scope="module")
def shell(tmp_path_factory):
    """Run commands as a newcomer: the wheel in an environment beside the packages of this one."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip"]
    subprocess.run(
        [*pip, "wheel", "--quiet", "--no-deps", "-w", str(folder), str(ROOT)], check=True
    )
    (wheel,) = folder.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    python = folder / "venv/bin/python"
    (packages,) = (folder / "venv").glob("lib/python*/site-packages")
    (packages / "packages.pth").write_text(sysconfig.get_path("purelib") + "\n")
    subprocess.run(
        [*pip, "--python", str(python), "install", "--quiet", "--no-deps", "--no-index", wheel],
        check=True,
    )
    empty = folder / "empty"
    empty.mkdir()
    path = f"{folder / 'venv/bin'}{os.pathsep}{os.environ['PATH']}"
    environment = {"PATH": path, "HOME": str(folder), "SLIM_SUPERB_HOME": str(home())}

    def call(*words, code=0):
        """What a command writes to stdout, and its seconds."""
        begun = time.perf_counter()
        done = subprocess.run(
            words, cwd=empty, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == code, done.stderr
        return done.stdout, time.perf_counter() - begun

    call.folder = empty
    return call


@pytest.mark.slow
@pytest.mark.corpus
def test_from_an_empty_folder_with_the_wheel(shell):
    """The README's first command, a comparison, own data as three tasks, a model in memory."""
    slim = "slim-superb"
    shell(slim, "data", "prepare", "--track", "quick")  # the packages
    assert shell("python", "-c", "import bench; print(bench.__file__)")[0].count("/venv/")
    (first,) = (text for text in blocks("README.md", "text") if "held against" in text)
    text, seconds = shell(slim, "eval", "house_whisper_distil", "ks", "--force")
    assert seconds < FIRST_NUMBER_S
    for line in first.splitlines()[2:]:
        what, name, *_ = re.split(r"\s{2,}", line)
        assert f"{what}\t{name}\t" in text
    score = read_record(shell.folder / "runs/quick/house_whisper_distil/ks-s0.json").score()
    assert score.value > 2 * score.chance

    for name in ("house_whisper_distil", "house_whisper_ofa"):
        shell(slim, "eval", name, "ks", "--seeds", "0,1")
    text, _ = shell(slim, "compare", "house_whisper_distil", "house_whisper_ofa")
    assert re.search(r"^ks\taccuracy\t.*\](\t[<\d.]+){2}\t", text, re.MULTILINE)

    write_digits(shell.folder / "fsdd", digits=10, takes=10)
    for task in ("ks", "sid"):
        shell(slim, "task", "init", "fsdd", "--task", task, "--out", f"{task}.yaml")
        shell(slim, "eval", "house_whisper_distil", "--task-card", f"{task}.yaml")
        record = read_record(shell.folder / f"runs/own/house_whisper_distil/fsdd-{task}-s0.json")
        assert record.score().n == 120 or task == "ks"
        assert record.score().value > 2 * record.score().chance
    write_transcripts(shell.folder / "read")
    shell(slim, "task", "init", "read/read.csv", "--out", "read.yaml", "--name", "read")
    shell(slim, "eval", "house_whisper_ofa", "--task-card", "read.yaml", "--seeds", "0,1")

    (shell.folder / "model.py").write_text(MODEL.format(task="ks", track="quick"))
    line = ast.literal_eval(shell("python", "model.py")[0])
    assert line["first"].startswith("memory:frames-") and 0 <= line["p_holm"] <= 1
    text, _ = shell(slim, "show")
    assert {"fsdd-ks", "fsdd-sid", "read", "ks"} <= set(text.split("\t"))


@pytest.mark.slow
@pytest.mark.corpus
def test_commands_of_the_readme_that_need_no_file_of_the_user(shell):
    """In the README's order; commands that name a user's model or data are parsed elsewhere."""
    shutil.rmtree(shell.folder / "runs", ignore_errors=True)
    text = "\n".join(blocks("README.md", "sh"))
    named = r"slim-superb (?:eval house_\w+ ks(?! --track)|compare|show|grid|list|export).*"
    commands = re.findall(named, text)
    assert len(commands) > 8
    for command in commands:
        shell("bash", "-c", command)
