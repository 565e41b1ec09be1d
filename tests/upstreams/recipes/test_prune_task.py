"""Pruning for a task: gates are trained together with the task's head."""

from dataclasses import replace

import official_trees
import pytest
import torch
from recipe_methods import DEEP
from recipe_toys import WAVE, ingredients, moment, stream

from bench.cli import main
from bench.errors import UsageError
from bench.measure.cost import measure
from bench.records.own_head import read_own_head
from downstreams.classify import UtteranceClassifier
from downstreams.ctc import CtcBlstm
from downstreams.spotting import SlotSpotter
from upstreams.encoder.config import encoder_config
from upstreams.encoder.state import build, random_state
from upstreams.recipes.finetuning.task import features_of
from upstreams.recipes.pretraining.pretrain import config_section
from upstreams.recipes.pruning import prune_task
from upstreams.recipes.training.export import write_card, write_weights
from upstreams.recipes.training.objective import TrainedUpstream
from upstreams.recipes.training.stream import ClipStream


@pytest.fixture
def with_task(tmp_path):
    """A recipe that prunes while it learns what tells high tones from low ones."""
    teacher = build(WAVE, random_state(WAVE, 0))

    def make(config, task="labels"):
        classes, conf = ["high", "low"], {"projection": 16, "hidden": 8, "layers": 1}
        heads = {
            "labels": lambda *of: UtteranceClassifier(*of, classes),
            "transcripts": lambda *of: CtcBlstm(*of, classes, **conf),
            "slots": lambda *of: SlotSpotter(*of, list(map(slot, classes)), projection=16),
        }
        source = ingredients(
            tmp_path,
            {"targets": [2], "sparsity": 0.3, **config},
            teacher=teacher,
            make_head=heads[task],
        )
        if task != "slots":
            return source
        return replace(source, clips=[replace(c, target=slot(c.target)) for c in source.clips])

    return make


def slot(value):
    return {"text": value, "slots": [["tone", value]]}


@pytest.mark.parametrize("task", ["labels", "transcripts", "slots"])
def test_pruning_for_a_task_learns_the_task(with_task, task):
    source = with_task({"gate_lr": 0.1}, task)
    objective = prune_task.make(source)
    data = ClipStream(
        source.clips, source.read, batch_s=9, max_s=9, min_samples=400, seed=0, grid=False
    )
    batch = data.load(data.plan(0)[0])
    optimizer = torch.optim.AdamW(objective.groups(5e-3, 0.0))
    losses = []
    for step in range(40):
        loss, figures = objective.loss(batch, replace(moment(step), stage_fraction=step / 40))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(figures["task"])
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
    assert set(figures) == {"task", "sparsity0"}
    product = objective.product()
    cut = build(encoder_config(product.config), product.state)
    dense = build(WAVE, random_state(WAVE, 0))
    assert abs(1 - measure(cut).params / measure(dense).params - 0.3) < 0.01
    model = objective.predictor()
    assert model.head_params == 3 + sum(p.numel() for p in objective.head.parameters())
    objective.eval()
    objective.gated.settle()
    wav = source.read(source.clips[0], 0, source.clips[0].num_samples)
    inputs = wav[None], torch.tensor([len(wav)])
    with torch.no_grad():
        gated = features_of(objective.gated.encoder(*inputs).states, objective.logits)
    pruned = features_of(model.predict.encoder(*inputs).states, model.predict.logits)
    assert torch.allclose(gated, pruned, atol=0.02)  # the file has half precision
    assert (
        model.predict(wav)
        == model.predict.head.predict(model.predict.head(pruned, torch.tensor([pruned.shape[1]])))[
            0
        ]
    )


def test_the_head_depends_on_the_seed_alone(with_task):
    heads = []
    for state in (1, 2):
        torch.manual_seed(state)  # as other work before it leaves it
        heads.append(prune_task.make(with_task({})).head.state_dict())
    assert all(torch.equal(heads[0][key], heads[1][key]) for key in heads[0])


def test_a_task_takes_whole_utterances(with_task, tmp_path):
    source = with_task({})
    objective = prune_task.make(source)
    cut = [part for batch in stream(source).plan(0) for part in batch if part.num_samples == 7_680]
    with pytest.raises(UsageError, match="cuts an utterance"):
        objective.loss(stream(source).load(cut[:1]), moment())
    with pytest.raises(UsageError, match="needs 'task'"):
        prune_task.make(replace(source, make_head=None))


def test_a_recipe_for_slurp_ends_with_its_own_intent_accuracy(tmp_path, monkeypatch):
    monkeypatch.setenv("SLIM_SUPERB_HOME", str(tmp_path / "home"))
    official_trees.slurp(tmp_path)
    dense = TrainedUpstream(config_section(DEEP), random_state(DEEP, 0))
    weights, card = tmp_path / "dense.safetensors", tmp_path / "dense.yaml"
    about = {"name": "dense", "title": "Dense", "family": "teacher"}
    write_card(dense, card, weights=weights, sha256=write_weights(dense, weights), about=about)
    options = ["--data", str(tmp_path), "--teacher-card", str(card), "--out", str(tmp_path / "run")]
    settings = ["--max-updates", "2", "--loaders", "0", "--set", "config.sparsity=0.3"]
    assert main(["compress", "hj_wav2vec2_slurp_macs", *options, *settings]) == 0
    record = read_own_head(tmp_path / "run" / "own-head.json")
    assert (record.task, record.teacher) == ("slurp", "dense")
    size = sum(p.numel() for p in build(DEEP, random_state(DEEP, 0)).parameters())
    assert record.encoder_params < size
    counts = {(s.condition, s.metric): (s.numerator, s.denominator) for s in record.scores}
    assert {key: of for key, (_, of) in counts.items()} == {
        ("dev", "accuracy"): 6,
        ("clean", "accuracy"): 4,
        ("far", "accuracy"): 4,
    }
    for score in record.scores:
        assert score.value == score.numerator / score.denominator
