"""The tables of published constants fit the recipes, and the switches do what they name."""

import re
from dataclasses import replace

import pytest
import torch
import yaml
from recipe_toys import WAVE, first_batch, ingredients, moment

from bench.errors import UsageError
from bench.make.recipe import recipe_card
from bench.registry import ROOT
from upstreams.encoder.config import BASE_CNN, EncoderConfig
from upstreams.encoder.state import build, num_parameters, random_state, trainable
from upstreams.recipes.distillation import ofa
from upstreams.recipes.distillation.regularisation import Regularisation, regularise
from upstreams.recipes.distillation.students import regression_loss, standardised, student_config
from upstreams.recipes.distillation.teacher import FrozenTeacher
from upstreams.recipes.pruning import prune
from upstreams.recipes.training.settings import TrainingSettings
from upstreams.recipes.training.stream import ClipStream
from upstreams.supernet.subnet import search_space

PAGE = (ROOT / "docs" / "recipes-published.md").read_text()
SECTIONS = dict(re.findall(r"^## `(\w+)`\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S))
METHODS = ("distilhubert", "dphubert", "lighthubert_small", "lighthubert_base", "robust_distil")
METHODS += ("distil_disc", "distil_fbank", "hj_wav2vec2_asr_size", "finetune_asr")


def rows(section):
    for line in section.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if len(cells) == 5 and cells[1].startswith("`"):
            yield cells[1].strip("`"), cells[3]


@pytest.mark.parametrize("name", METHODS)
def test_the_recipe_has_the_constants_of_its_table(name):
    card = recipe_card(name).model_dump()
    listed = list(rows(SECTIONS[name]))
    assert len(listed) >= 7
    for key, ours in listed:
        value = card
        for part in key.split("."):
            value = value[part]
        expected = yaml.safe_load(ours)
        assert value == expected or list(value) == expected, key


def test_students_have_the_published_sizes():
    hubert = EncoderConfig()
    sizes = {
        name: num_parameters(student_config(hubert, recipe_card(name).config["student"]))
        for name in ("distilhubert", "distil_thin", "distil_wide")
    }
    assert sizes == {
        "distilhubert": 23_491_200,
        "distil_thin": 26_872_960,
        "distil_wide": 30_580_096,
    }
    student = student_config(hubert, recipe_card("distilhubert").config["student"])
    mel = student_config(student, recipe_card("distil_fbank").config["student"])
    assert 1 - num_parameters(mel) / num_parameters(student) == pytest.approx(
        0.190, abs=0.001
    )  # as the page says
    assert student.conv_layers == BASE_CNN


def test_raw_targets_and_the_raw_cosine():
    generator = torch.Generator().manual_seed(0)
    one, two = (torch.randn(1, 4, 3, generator=generator) for _ in range(2))
    valid = torch.tensor([[True, True, True, False]])
    (same,) = standardised([one], valid, "none")
    assert torch.equal(same, one[0, :3])
    cosine = torch.cosine_similarity(one[0], two[0]).mean()
    expected = (one - two).abs().mean() - 0.5 * cosine
    assert regression_loss(one[0], two[0], 0.5, "raw").item() == pytest.approx(expected.item())


def test_dropout_acts_in_training_only_and_the_front_end_gets_less_gradient():
    wavs, lengths = torch.randn(2, 8_000), torch.tensor([8_000, 8_000])
    plain = trainable(WAVE, random_state(WAVE, 0))
    kinds = ("dropout", "attention_dropout", "activation_dropout", "input_dropout", "layer_drop")
    for kind in kinds:
        encoder = trainable(WAVE, random_state(WAVE, 0))
        regularise(encoder, Regularisation(**{kind: 0.5}))
        expected = plain(wavs, lengths).states[-1]
        torch.manual_seed(1)
        assert not torch.equal(encoder(wavs, lengths).states[-1], expected), kind
        torch.nn.Module.train(encoder, False)
        assert torch.equal(encoder(wavs, lengths).states[-1], expected), kind
    scaled = trainable(WAVE, random_state(WAVE, 0))
    regularise(scaled, Regularisation(front_gradient=0.1))
    for encoder in (plain, scaled):
        encoder(wavs, lengths).states[-1].square().mean().backward()
    pairs = list(zip(plain.named_parameters(), scaled.parameters(), strict=True))
    for (name, parameter), other in pairs:
        factor = 0.1 if name.startswith("extractor.") else 1.0
        assert torch.allclose(factor * parameter.grad, other.grad, atol=1e-7), name


def test_layer_results_are_what_the_residual_lacks(tmp_path):
    teacher = build(WAVE, random_state(WAVE, 7))
    batch = first_batch(ingredients(tmp_path, {}))
    results = FrozenTeacher(teacher).layer_results(batch).states
    inputs: list[torch.Tensor] = []
    norms = [layer.ffn_norm for layer in teacher.layers]
    handles = [n.register_forward_pre_hook(lambda _m, x: inputs.append(x[0])) for n in norms]
    states, frames = teacher(batch.wavs, batch.lengths)
    for handle in handles:
        handle.remove()
    mask = (torch.arange(states[0].shape[1]) < frames[:, None])[:, None, None, :]
    middles = []
    for layer, state in zip(teacher.layers, states, strict=False):
        with torch.no_grad():
            middles.append(layer.attention_norm(state + layer.attention(state, mask)))
    for result, whole, middle in zip(results, inputs, middles, strict=True):
        assert torch.allclose(result, whole - middle, atol=1e-5)
    with pytest.raises(UsageError, match="only hidden states are stored"):
        FrozenTeacher(teacher, lambda _: []).layer_results(batch)


def test_subnets_may_all_be_smaller_than_the_supernet(tmp_path):
    config = {
        "search_space": {"embed": [8, 12], "layers": [1], "heads": [1], "ffn": [1.0]},
        "default": "min",
        "target": "layer_results",
        "target_norm": "none",
        "upper": 2,
    }
    source = ingredients(tmp_path, config, teacher=build(WAVE, random_state(WAVE, 7)))
    objective = ofa.make(source)
    assert objective.subnet_at(moment(0)).embed == WAVE.embed_dim
    drawn = {objective.subnet_at(moment(step, stage=1)).embed for step in range(20)}
    assert drawn == {8, 12}
    for stage in (0, 1):
        loss, _ = objective.loss(first_batch(source), moment(0, stage=stage))
        loss.backward()
    ofa.check_space(search_space(config["search_space"], 2), replace(WAVE, embed_dim=12))


def test_targets_may_share_a_map(tmp_path):
    teacher = build(WAVE, random_state(WAVE, 7))
    options = {"targets": [0, 1, 2], "maps": [0, 1, 1], "sparsity": 0.2, "cosine": "raw"}
    source = ingredients(tmp_path, options, teacher=teacher)
    objective = prune.make(source)
    assert len(objective.maps) == 2
    loss, _ = objective.loss(first_batch(source), moment())
    loss.backward()
    for wrong in ([0, 2, 2], [0, 1]):
        with pytest.raises(UsageError, match="'maps' must"):
            prune.make(replace(source, config={**options, "maps": wrong}))


def test_each_stage_has_its_own_rate():
    training = TrainingSettings(lr=(2e-4, 1e-4), warmup=(0.3, 0.2), decay=(0.7, 0.8))
    assert training.factor(0.15, 0) == pytest.approx(0.5)
    assert training.factor(0.2, 1) == pytest.approx(0.5)
    assert training.factor(0.6, 1) == pytest.approx(0.25)
    with pytest.raises(ValueError, match="one value for each stage"):
        TrainingSettings(lr=(2e-4, 1e-4), warmup=(0.1, 0.1, 0.1))


def test_batches_of_clips_and_of_equal_lengths(tmp_path):
    source = ingredients(tmp_path, {})
    settings = {"batch_s": 1.0, "max_s": 9.0, "min_samples": 400, "seed": 0, "grid": False}
    data = ClipStream(source.clips, source.read, batch_clips=5, equal_lengths=True, **settings)
    plan = data.plan(0)
    assert sorted(len(batch) for batch in plan) == [2, 5, 5]
    for batch in plan:
        assert len({part.num_samples for part in batch}) == 1
        whole = [source.clips[part.index].num_samples for part in batch]
        assert batch[0].num_samples == min(whole)
        for part, size in zip(batch, whole, strict=True):
            assert part.start + part.num_samples <= size
