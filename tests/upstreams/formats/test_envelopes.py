"""Wrappers around the weights of an encoder, as people's frameworks save them."""

import sys
import types
from dataclasses import replace
from functools import cache

import pytest
import torch
from published_files import BASE, converted
from references import transformers_model

from bench.errors import InvalidDataError
from upstreams.formats.checkpoint import read_checkpoint
from upstreams.formats.layout import import_encoder


@cache
def hubert_tensors():
    return transformers_model(BASE).state_dict()


@cache
def fairseq_tensors():
    return converted("hubert", BASE)["model_weight"]


def hubert():
    """The tensors of a HuBERT in the names of transformers."""
    return dict(hubert_tensors())


def fairseq():
    """The tensors of a HuBERT in fairseq's names."""
    return dict(fairseq_tensors())


def under(prefix, tensors):
    return {prefix + name: tensor for name, tensor in tensors.items()}


HEAD = {"proj.weight": torch.ones(3, 48), "criterion.scale": torch.ones(1)}
PREFIXES = (
    *("", "module.", "_orig_mod.", "hubert.", "module.hubert.", "model.hubert.", "student."),
    *("_orig_mod.module.hubert.", "w2v_encoder.w2v_model.", "feature_extract.model."),
    *("encoder.hubert_pretrain_model.wav2vec2.", "frontend.upstream.upstream.model."),
    *("encoder.encoders.", "encoder.", "wav2vec2model.model.", "net._orig_mod.hubert."),
)
CONTAINERS = (
    lambda state: state,
    lambda state: {"model": state},
    lambda state: {"state_dict": state, "epoch": 3, "hyper_parameters": {"lr": 0.1}},
    lambda state: {"model_state_dict": state, "optimizer_state_dict": {"state": {}}},
    lambda state: {"checkpoint": {"student": {"weights": state}}},
    lambda state: {"ema": state, "step": torch.tensor(3)},
)


# Every prefix, and every container, in turn.
ENVELOPES = [
    (PREFIXES[index % len(PREFIXES)], CONTAINERS[index % len(CONTAINERS)])
    for index in range(2 * len(PREFIXES) + 2)
]


@pytest.mark.parametrize(("prefix", "container"), ENVELOPES)
@pytest.mark.parametrize("names", [hubert, fairseq], ids=["transformers", "fairseq"])
def test_any_prefix_in_any_container(names, prefix, container, tmp_path):
    tensors = names()
    _, expected, _ = import_encoder(tensors, BASE)
    head = HEAD if set(prefix.split(".")) - {"", "module", "_orig_mod"} else {}
    torch.save(container(under(prefix, tensors) | head), tmp_path / "a.pt")
    _, state, left_out = import_encoder(read_checkpoint(tmp_path / "a.pt"), BASE)
    assert all(torch.equal(state[name], expected[name]) for name in expected)
    assert {name.partition(".")[0] for name in head} <= set(left_out)


def test_a_bare_state_dict_with_a_head_is_refused_by_name():
    """Without a prefix nothing tells a head from a part of an encoder that is not supported."""
    with pytest.raises(InvalidDataError, match=r"unexpected tensors: proj.weight"):
        import_encoder(hubert() | HEAD, BASE)


def test_a_wrapper_in_the_middle_of_a_name():
    tensors = hubert()
    wrapped = {
        name.replace("encoder.layers.1.", "encoder.layers.1._orig_mod."): tensor
        for name, tensor in tensors.items()
    }
    _, state, _ = import_encoder(wrapped, BASE)
    _, expected, _ = import_encoder(tensors, BASE)
    assert all(torch.equal(state[name], expected[name]) for name in expected)


@pytest.mark.parametrize("aside", ["teacher", "ema", "model_ema", "target_encoder"])
def test_a_student_is_taken_and_not_its_teacher(aside):
    student, teacher = hubert(), hubert()
    teacher = {name: tensor + 1 for name, tensor in teacher.items()}
    data = {"state_dict": under("student.", student) | under(f"{aside}.", teacher)}
    _, state, _ = import_encoder(data, BASE)
    _, expected, _ = import_encoder(student, BASE)
    assert all(torch.equal(state[name], expected[name]) for name in expected)


def test_two_encoders_are_refused_unless_they_are_equal():
    tensors = hubert()
    _, expected, _ = import_encoder(tensors, BASE)
    data = {"model": tensors, "best_model": dict(tensors)}
    assert import_encoder(data, BASE).state.keys() == expected.keys()
    data["best_model"] = {name: tensor + 1 for name, tensor in tensors.items()}
    with pytest.raises(InvalidDataError, match="holds 2 encoders, under 'model', 'best_model'"):
        import_encoder(data, BASE)


def test_an_adapter_that_is_not_merged_is_refused():
    name = "encoder.layers.0.attention.q_proj"
    tensors = hubert()
    tensors[f"{name}.base_layer.weight"] = tensors.pop(f"{name}.weight")
    tensors[f"{name}.lora_A.default.weight"] = torch.ones(4, 48)
    with pytest.raises(InvalidDataError, match=r"adapter that is not merged.*merge_and_unload"):
        import_encoder({"model": under("base_model.model.", tensors)}, BASE)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_every_floating_type_is_read_as_float32(dtype):
    tensors = {name: tensor.to(dtype) for name, tensor in hubert().items()}
    _, state, _ = import_encoder(tensors, BASE)
    _, expected, _ = import_encoder(
        {name: tensor.to(torch.float32) for name, tensor in tensors.items()}, BASE
    )
    assert all(state[name].dtype == torch.float32 for name in state)
    assert all(torch.equal(state[name], expected[name]) for name in expected)


@pytest.mark.parametrize("names", [hubert, fairseq], ids=["transformers", "fairseq"])
def test_masks_of_pruning_are_multiplied(names):
    tensors = names()
    (name,) = (
        key
        for key in tensors
        if key.endswith(("1.fc1.weight", "1.feed_forward.intermediate_dense.weight"))
    )
    weight = tensors.pop(name)
    mask = (torch.arange(weight.numel()).reshape(weight.shape) % 3 > 0).float()
    masked = tensors | {f"{name}_orig": weight, f"{name}_mask": mask}
    _, state, _ = import_encoder(masked, BASE)
    _, expected, _ = import_encoder(tensors | {name: weight * mask}, BASE)
    assert all(torch.equal(state[key], expected[key]) for key in expected)


class AttributeDict(dict):
    """Lightning's hyper-parameters: a dict of a class of their package."""


AttributeDict.__module__ = "lightning_fabric.utilities.data"


def test_classes_of_hyper_parameters_are_read_as_data(tmp_path, monkeypatch):
    for name in ("lightning_fabric", "lightning_fabric.utilities", AttributeDict.__module__):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    sys.modules[AttributeDict.__module__].AttributeDict = AttributeDict
    tensors = hubert()
    data = {"state_dict": under("model.", tensors), "hyper_parameters": AttributeDict(lr=0.1)}
    torch.save(data, tmp_path / "a.ckpt")
    monkeypatch.undo()
    content = read_checkpoint(tmp_path / "a.ckpt")
    assert content["hyper_parameters"] == {"lr": 0.1}
    _, state, _ = import_encoder(content, BASE)
    assert len(state) == len(import_encoder(tensors, BASE).state)


STATED = {
    "activation_fn": "relu",
    "layer_type": "conformer",
    "pos_conv_depth": 5,
    "extractor_mode": "layer_norm",
    "encoder_embed_dim": 64,
    "encoder_ffn_embed_dim": 128,
    "conv_pos": 32,
    "conv_bias": True,
    "conv_feature_layers": "[(24, 10, 4)] + [(24, 3, 2)] * 4 + [(24, 2, 2)] * 2",
    "crop_seq_to_multiple": 2,
    "normalize": True,
}


@pytest.mark.parametrize("nested", [False, True], ids=["args", "fine-tuned"])
@pytest.mark.parametrize("key", STATED)
def test_a_configuration_beside_the_weights_that_contradicts_the_card_is_refused(key, nested):
    args = {key: STATED[key]}
    data = {"model": fairseq(), "args": args}
    if nested:
        cfg = {"_name": "wav2vec_ctc", "normalize": "${task.normalize}"}
        data = {"model": fairseq(), "cfg": {"model": cfg | {"w2v_args": {"model": args}}}}
    with pytest.raises(InvalidDataError, match="its own configuration"):
        import_encoder(data, BASE)


def test_a_configuration_that_agrees_is_accepted():
    stated = {
        "conv_feature_layers": "[(24, 10, 5)] + [(24, 3, 2)] * 4 + [(24,2,2)] * 2",
        "extractor_mode": "default",
        "activation_fn": "gelu",
        "required_seq_len_multiple": 2,  # padding that is masked
        "encoder_ffn_embed_dim": 64,
    }
    data = {"model": fairseq(), "cfg": {"model": stated}}
    assert import_encoder(data, replace(BASE)).config.conv_layers == BASE.conv_layers


@pytest.mark.parametrize(
    "text", ["__import__('os')", "[(1, 2, 3)] * 10**9", "[1", "7", "[(1)] * x"]
)
def test_a_front_end_that_is_no_list_is_refused(text):
    with pytest.raises(InvalidDataError, match="conv_feature_layers"):
        import_encoder({"model": fairseq(), "cfg": {"model": {"conv_feature_layers": text}}}, BASE)
