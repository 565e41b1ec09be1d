"""DPHuBERT's file, damaged or hostile: refused in one line, without a blow-up of memory."""

import math
import resource

import pytest
import torch
from dphubert_file import HUBERT, WAVLM, published

from bench.api import UpstreamSource
from bench.errors import InvalidDataError, MissingError, UsageError
from upstreams.encoder.state import shapes
from upstreams.formats.checkpoint import plain
from upstreams.formats.layouts.torchaudio import torchaudio_names
from upstreams.importers.dphubert import import_pruned, load, pruned_config


def change(key, value):
    return lambda data: data["config"].__setitem__(key, value)


def tensor(name, value):
    return lambda data: data["state_dict"].__setitem__(name, value)


FC = "encoder.transformer.layers.0.feed_forward.intermediate_dense.weight"


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (change("encoder_num_layers", 10**9), "for each of 1000000000 layers, found 4"),
        (change("encoder_num_layers", "12"), "key 'encoder_num_layers'"),
        (change("encoder_embed_dim", 10**9), "key 'embed_dim'"),
        (change("encoder_embed_dim", [48]), "key 'encoder_embed_dim'"),
        (change("encoder_ff_interm_features", [10**12] * 4), "key 'ffn.0'"),
        (change("encoder_ff_interm_features", [-1] * 4), "key 'ffn.0'"),
        (change("encoder_ff_interm_features", [1.5] * 4), "key 'encoder_ff_interm_features.0'"),
        (change("encoder_use_attention", [1] * 4), "key 'encoder_use_attention.0'"),
        (change("encoder_use_attention", None), "key 'encoder_use_attention'"),
        (change("extractor_mode", ["group_norm"]), "key 'extractor_mode'"),
        (change("extractor_conv_layer_config", "x" * 99), "key 'extractor_conv_layer_config'"),
        (change("extractor_conv_layer_config", [[512, 10, 10**9]]), "key 'conv_layers.0.2'"),
        (
            change("extractor_conv_layer_config", [["a", 1, 1]]),
            "key 'extractor_conv_layer_config.0.0'",
        ),
        (change("encoder_remaining_heads", [[0, 0]] * 4), "'kept_heads' names"),
        (change("encoder_remaining_heads", [[9]] * 4), "'kept_heads' names"),
        (change("encoder_remaining_heads", [["a"]] * 4), "key 'encoder_remaining_heads.0.0'"),
        (change("encoder_remaining_heads", [0] * 4), "key 'encoder_remaining_heads.0'"),
        (change("encoder_total_num_heads", [4, 4, 4, 5]), "one number of heads for all layers"),
        (change("encoder_num_buckets", 10**9), "key 'relative_buckets'"),
        (change("encoder_prune_attention_heads", True), "its gates are not pruned yet"),
        (change("surprise", 1), "unknown key 'surprise'"),
        (lambda data: data["config"].pop("encoder_embed_dim"), "key 'encoder_embed_dim'"),
        (lambda data: data.__setitem__("config", [1]), "'config' must be a dict"),
        (lambda data: data.pop("config"), "a dict with 'config', 'state_dict'"),
        (lambda data: data.__setitem__("state_dict", 3), "mapping from names to tensors"),
        (lambda data: data["state_dict"].pop(FC), f"missing tensors: {FC}"),
        (tensor("surprise", torch.ones(1)), "unexpected tensors: surprise"),
        (tensor(FC, torch.ones(31, 47)), r"expected shape \(31, 48\), found \(31, 47\)"),
        (tensor(FC, torch.full((31, 48), torch.nan)), "holds NaN"),
        (tensor(FC, torch.ones(31, 48, dtype=torch.int32)), "found torch.int32"),
        (tensor(FC, torch.ones(31, 48, device="meta")), "meta"),
    ],
)
def test_what_does_not_fit_is_told_in_one_line(damage, words):
    data = published(dict(WAVLM))
    damage(data)
    with pytest.raises(InvalidDataError, match=words) as caught:
        import_pruned(data)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_a_small_file_cannot_ask_for_much_memory(tmp_path):
    """A shape of 12 GB, of tensors that all look at the same few numbers."""
    width, count = 16_384, 50
    config = HUBERT | {
        "encoder_embed_dim": width,
        "encoder_num_layers": count,
        "encoder_use_attention": [False] * count,
        "encoder_use_feed_forward": [True] * count,
        "encoder_num_heads": [1] * count,
        "encoder_ff_interm_features": [8_192] * count,
    }
    names = torchaudio_names(pruned_config(plain(config)))
    wide = shapes(pruned_config(plain(config)))
    assert sum(math.prod(shape) for shape in wide.values()) * 4 > 12e9
    one = torch.ones(1)
    tensors = {names[name]: one.expand(shape) for name, shape in wide.items()}
    torch.save({"config": config, "state_dict": tensors}, tmp_path / "small.pth")
    assert (tmp_path / "small.pth").stat().st_size < 1_000_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InvalidDataError, match=r"tensors overlap: .* bytes of data") as caught:
        load(UpstreamSource({}, checkpoint=tmp_path / "small.pth"))
    assert "\n" not in str(caught.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB


def test_without_the_file_there_is_no_shape(tmp_path):
    with pytest.raises(MissingError, match="shape of a pruned model is in its file"):
        load(UpstreamSource({}))
    with pytest.raises(UsageError, match="none expected"):
        load(UpstreamSource({"heads": 1}))
    with pytest.raises(UsageError, match="no variants"):
        load(UpstreamSource({}, variant="min"))
    whole = tmp_path / "whole.pth"
    torch.save(published(HUBERT), whole)
    for part in (0.3, 0.9):
        path = tmp_path / "part.pth"
        path.write_bytes(whole.read_bytes()[: int(part * whole.stat().st_size)])
        with pytest.raises(InvalidDataError, match="truncated or corrupt"):
            load(UpstreamSource({}, checkpoint=path))
