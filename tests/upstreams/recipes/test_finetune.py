"""Fine-tuning for a task: what is trained, the parts of a corpus, and the model's own score."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import soundfile
import torch
import yaml
from own_data import write_csv
from recipe_toys import MEL, WAVE, ingredients, moment

from bench.api import UpstreamSource
from bench.cli import main
from bench.corpora.own.card import remember
from bench.errors import UsageError
from bench.make.clips import read_part
from bench.make.recipe import subset_of
from bench.records.own_head import read_own_head
from bench.registry import corpus_module, make_head, task_card
from bench.run.spec import read_split
from downstreams.classify import UtteranceClassifier
from downstreams.ctc import CtcBlstm
from upstreams import house
from upstreams.encoder.config import encoder_config
from upstreams.encoder.state import build, random_state
from upstreams.recipes.finetuning import finetune
from upstreams.recipes.finetuning.task import FineTunedModel
from upstreams.recipes.pretraining.pretrain import config_section
from upstreams.recipes.training.export import write_card, write_weights
from upstreams.recipes.training.objective import TrainedUpstream
from upstreams.recipes.training.stream import ClipStream

TASK = "name: lines\ntask: asr\ndata: lines.csv\nlayout: table\nhead_conf: {frame_ms: 0}\n"
RECIPE = {
    "name": "tune",
    "title": "Tuned",
    "family": "distilled",
    "make": "upstreams.recipes.finetuning.finetune:make",
    "task": "own/lines",
    "head_conf": {"projection": 0, "layers": 0},
    "teacher": "house_wave",
    "training": {"batch_s": 4.0, "max_s": 4.0, "grid": False, "log_steps": 1},
}


@pytest.fixture
def source(tmp_path):
    def make(config, count=8):
        return ingredients(
            tmp_path,
            config,
            teacher=build(WAVE, random_state(WAVE, 0)),
            make_head=lambda *of: UtteranceClassifier(*of, ["high", "low"]),
            count=count,
        )

    return make


def updated(objective, batch, fraction):
    """The names of the parameters that an update changes."""
    loss, _ = objective.loss(batch, replace(moment(), fraction=fraction))
    loss.backward()
    return {name for name, p in objective.named_parameters() if p.grad is not None}


def test_the_front_end_stays_and_the_head_may_be_trained_alone(source):
    of = source({"states": "weighted", "head_alone": 0.5, "start_prob": 0.2})
    objective = finetune.make(of)
    data = ClipStream(of.clips, of.read, batch_s=9, max_s=9, min_samples=400, seed=0, grid=False)
    batch = data.load(data.plan(0)[0])
    head = {"logits", *(f"head.{name}" for name, _ in objective.head.named_parameters())}
    assert updated(objective, batch, 0.4) == head
    names = updated(objective, batch, 0.5)
    parts = {name.split(".")[1] for name in names - head - {"mask"}}
    assert {"projection", "layers", "pos_conv"} <= parts and "extractor" not in parts
    assert "mask" in names
    objective = finetune.make(source({"front": True}))
    assert any("extractor" in name for name in updated(objective, batch, 0.0))
    with torch.no_grad():  # validation masks nothing and takes the last state
        assert objective.loss(batch, moment())[0] == objective.loss(batch, moment(1))[0]
    with pytest.raises(UsageError, match="needs 'task'"):
        finetune.make(replace(of, make_head=None))


def test_a_head_may_be_one_linear_map():
    head = CtcBlstm(6, 320, ["AB", "BC"], projection=0, layers=0)
    assert [tuple(p.shape) for p in head.parameters()] == [(4, 6), (4,)]
    feats = torch.randn(2, 9, 6)
    output = head(feats, torch.tensor([9, 5]))
    assert torch.allclose(output.log_probs, head.classify(feats).log_softmax(2))


def test_subsets_are_known_by_their_names_and_contain_each_other(source):
    clips = source({}, count=40).clips
    total = sum(clip.num_samples for clip in clips) / 16_000
    short, long = (subset_of(clips, f"{total * part / 60:.4f}min") for part in (0.2, 0.6))
    assert {c.id for c in short} < {c.id for c in long} < {c.id for c in clips}
    assert sum(c.num_samples for c in short) / 16_000 == pytest.approx(0.2 * total, abs=1.0)
    assert subset_of(clips[::-1], f"{total * 0.2 / 60:.4f}min") == short[::-1]
    assert subset_of(clips, None) == clips
    with pytest.raises(UsageError, match="'3h': the training table has"):
        subset_of(clips, "3h")


@pytest.fixture
def lines(tmp_path, monkeypatch):
    """A task of lines to transcribe, a card of an encoder to start from, and a recipe."""
    monkeypatch.setenv("SLIM_SUPERB_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    rows = []
    generator = torch.Generator().manual_seed(0)
    for index in range(24):
        path = Path(f"{index}.wav")
        wav = 0.1 * torch.randn(4_800 + 320 * (index % 5), generator=generator)
        soundfile.write(path, wav.numpy(), 16_000)
        split = "dev" if index % 6 == 0 else "test" if index % 6 == 1 else "train"
        text = ("A BAD CAB", "DAB")[index // 6 % 2]
        rows.append({"path": path, "text": text, "speaker": f"s{index % 6}", "split": split})
    write_csv("lines.csv", rows)
    Path("lines.yaml").write_text(TASK)
    remember(Path("lines.yaml"))
    start = TrainedUpstream(config_section(MEL), random_state(MEL, 0))
    weights, card = tmp_path / "start.safetensors", tmp_path / "start.yaml"
    about = {"name": "start", "title": "Start", "family": "teacher"}
    write_card(start, card, weights=weights, sha256=write_weights(start, weights), about=about)
    Path("tune.yaml").write_text(yaml.safe_dump(RECIPE))
    return ["compress", "tune.yaml", "--teacher-card", "start.yaml", "--out", "run"]


def test_a_fine_tuned_model_has_a_record_of_its_own(lines, tmp_path, capsys):
    command = [*lines, "--max-updates", "2", "--set", "subset=0.05min"]
    assert main(command) == 0
    assert "own head, dev: WER" in capsys.readouterr().err
    record = read_own_head(tmp_path / "run" / "own-head.json")
    assert {score.condition for score in record.scores} == {"dev", "clean"}
    assert {score.metric for score in record.scores} >= {"wer", "cer"}
    assert (record.upstream, record.teacher, record.subset) == ("tune-s0", "start", "0.05min")
    wer = next(s for s in record.scores if (s.condition, s.metric) == ("clean", "wer"))
    assert wer.n == 4 and wer.denominator == 8 and wer.value == wer.numerator / 8
    # The file alone gives the predictions again.
    card = yaml.safe_load(Path("run/tune-s0.yaml").read_text())
    file = Path("run/tune-s0.safetensors")
    loaded = house.load(UpstreamSource(config=card["config"], checkpoint=file))
    task = task_card("lines", "own")
    task = task.model_copy(update={"head_conf": {**task.head_conf, **RECIPE["head_conf"]}})
    train, _ = read_split(task, "train", tmp_path / "home")
    head = make_head(task, 16, 320, [clip.target for clip in train])
    product = TrainedUpstream(card["config"], dict(_state(file)), house.read_extras(file))
    assert record.head_params == sum(p.numel() for p in head.parameters())
    assert record.encoder_params == sum(p.numel() for p in loaded.parameters())
    predict = FineTunedModel(product, head)
    test, _ = read_split(task, "clean", tmp_path / "home")
    rows = map(json.loads, Path("run/own-head/clean.jsonl").read_text().splitlines())
    assert {row["id"]: row["prediction"] for row in rows} == {
        clip.id: predict(read_part(clip, 0, clip.num_samples)) for clip in test
    }
    written = Path("run/own-head.json").read_bytes()
    assert main(command) == 0  # is done: not scored again
    assert Path("run/own-head.json").read_bytes() == written
    assert main([*command, "--name", "tune"]) == 0
    renamed = read_own_head(Path("run/own-head.json"))
    assert renamed.upstream == "tune" and renamed.scores == record.scores
    assert corpus_module("own/lines").is_current(tmp_path / "home")


def _state(file):
    from safetensors.torch import load_file

    tensors = load_file(file)
    config = encoder_config(yaml.safe_load(file.with_suffix(".yaml").read_text())["config"])
    return house.encoder_state(tensors, config)


def test_bad_parts_of_a_task_are_refused_in_one_line(lines, capsys):
    cases = {
        "subset=5h": "the training table has 0.00 h",
        "subset=much": "'subset' must be hours or minutes",
        "task=own/nothing": "unknown task 'nothing'",
        "head_conf=1": "expected subset, task or a key",
    }
    for setting, told in cases.items():
        assert main([*lines, "--set", setting]) == 2
        err = capsys.readouterr().err.strip().splitlines()
        assert told in err[-1], setting
