"""The command `compress`: training, dry runs, refusals, and the recipes of this project."""

import numpy as np
import pytest
import soundfile
import torch
import yaml
from recipe_toys import recipe_file
from safetensors.torch import load_file
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from bench.cli import main
from bench.make.recipe import RECIPES, recipe_card, recipe_names
from bench.registry import resolve
from bench.schema import make_model
from upstreams.recipes.training.settings import TrainingSettings


def test_the_command_trains_exports_and_is_done(tmp_path, capsys):
    path = recipe_file(tmp_path)
    out = tmp_path / "run"
    assert main(["compress", str(path), "--out", str(out)]) == 0
    card = yaml.safe_load((out / "tiny-s0.yaml").read_text())
    assert card["name"] == "tiny-s0" and "license" not in card  # the user's to say
    weights = load_file(out / "tiny-s0.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float16}
    assert main(["check", "--card", str(out / "tiny-s0.yaml")]) == 0
    before = (out / "tiny-s0.safetensors").read_bytes()
    assert main(["compress", str(path), "--out", str(out)]) == 0
    assert (out / "tiny-s0.safetensors").read_bytes() == before
    capsys.readouterr()
    assert main(["compress", str(path), "--out", str(out), "--seed", "1"]) == 2
    assert "another configuration" in capsys.readouterr().err


def test_a_dry_run_says_how_long_and_keeps_nothing(tmp_path, capsys):
    path = recipe_file(tmp_path)
    assert main(["compress", str(path), "--out", str(tmp_path / "run"), "--dry-run"]) == 0
    told = capsys.readouterr().err
    assert "h would take about" in told and "'embed_dim': 16" in told
    assert not list((tmp_path / "run").glob("checkpoint*"))
    assert not list((tmp_path / "run").glob("*.safetensors"))


def test_a_dry_run_of_less_than_two_batches_has_nothing_to_time(tmp_path, capsys):
    path = recipe_file(tmp_path)
    command = ["compress", str(path), "--out", str(tmp_path / "run"), "--dry-run"]
    assert main([*command, "--hours", "0.0001"]) == 2
    assert "0.0001 h are less than two batches" in capsys.readouterr().err
    for setting in ("held_out=8", "held_out=9", "min_s=2.0"):  # of eight clips
        assert main([*command, "--set", f"training.{setting}"]) == 2
        assert "training: no clips are left of 8" in capsys.readouterr().err


def test_a_folder_must_hold_sound_of_the_right_kind(tmp_path, capsys):
    path = recipe_file(tmp_path)
    soundfile.write(tmp_path / "speech" / "cd.wav", np.zeros(44_100), 44_100)
    assert main(["compress", str(path), "--out", str(tmp_path / "run")]) == 4
    assert "cd.wav: expected 16000 Hz mono, found 44100 Hz" in capsys.readouterr().err
    (tmp_path / "speech" / "cd.wav").write_bytes(b"no sound")
    assert main(["compress", str(path), "--out", str(tmp_path / "run")]) == 4
    assert "not readable as sound" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["no_such_recipe"], "unknown recipe"),
        (["house_mel", "--name", "a/b"], "--name 'a/b'"),
        (["house_mel", "--name", "ge2e"], "'ge2e' is an upstream of this project"),
        (["house_whisper_distil", "--teacher-card", "no.yaml"], "no.yaml: no such card"),
        (
            ["house_whisper_distil", "--teacher-weights", "no.pt", "--data", "nowhere"],
            "no.pt",  # the teacher first: data may take minutes to prepare
        ),
        (["house_mel", "--teacher", "ge2e"], "takes no teacher"),
        (["house_mel", "--data", "nowhere"], "no audio files"),
        (["house_mel", "--noise-dir", "noise"], "distorts nothing"),
        (["house_mel", "--data", "gamez:x"], "unknown corpus"),
    ],
)
def test_bad_requests_are_one_line(arguments, told, capsys, tmp_path):
    assert main(["compress", *arguments, "--out", str(tmp_path / "run")]) in (2, 3)
    err = capsys.readouterr().err.strip().splitlines()
    assert told in err[-1] and "Traceback" not in "".join(err)


def test_processes_are_started_by_torch_and_end_with_its_status(monkeypatch, capsys):
    started = []

    def launch(config, program):
        def run(*words):
            started.append((config.nproc_per_node, *words))
            raise ChildFailedError("bench", {1: ProcessFailure(1, 1, 4, "no file")})

        return run

    monkeypatch.setattr("torch.distributed.launcher.api.elastic_launch", launch)
    words = ["compress", "house_mel", "--processes", "2"]
    monkeypatch.setattr("sys.argv", ["slim-superb", *words])
    assert main(words) == 4
    assert started == [(2, "-m", "bench", *words)]
    assert main(["compress", "house_mel", "--processes", "0"]) == 2
    assert "--processes 0: expected 1 or more" in capsys.readouterr().err


@pytest.mark.parametrize(
    "variables", [{}, {"RANK": "0"}, {"RANK": "0", "MASTER_ADDR": "here", "MASTER_PORT": "x"}]
)
def test_half_of_the_variables_of_torchrun_is_refused(variables, monkeypatch, capsys):
    for name, value in {"WORLD_SIZE": "2", **variables}.items():
        monkeypatch.setenv(name, value)
    assert main(["compress", "house_mel"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "WORLD_SIZE=2, RANK=" in line and "unset WORLD_SIZE" in line


@pytest.mark.parametrize("name", recipe_names())
def test_recipes_hold(name):
    card = recipe_card(name)
    make_model(TrainingSettings, card.training, "training")
    assert callable(resolve(card.make))
    assert (RECIPES / f"{name}.yaml").stat().st_size < 10_000


def test_training_data_have_no_speaker_of_dev_or_test():
    """What the house family learns from may hold nobody who is tested on."""
    cards = [recipe_card(name) for name in recipe_names() if name.startswith("house_")]
    names = [card.data if isinstance(card.data, tuple) else (card.data,) for card in cards]
    data = {name for several in names for name in several if name}
    # tests/corpora/test_corpus_games.py looks into the first; the second has none of the games.
    assert data == {"games:unlabelled/train", "unlabelled:train"}
    tasks = {card.task for card in cards if card.task}
    assert tasks <= {"open/asr", "open/slu"}  # whose training tables have other speakers
