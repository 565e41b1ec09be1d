"""A cut subnet is the authors' supernet run with that subnet's configuration, on random weights.

Their code, as s3prl has it: in full size on a few subnets (on two hundred in a slow test), and on
two hundred in a supernet of a third of the width, whose choices are as many and of the same kinds.
"""

from dataclasses import replace

import pytest
import torch

from bench.api import UpstreamSource
from bench.load.catalog import upstream_card
from upstreams.encoder.state import build
from upstreams.importers.lighthubert import BASE, import_state, load
from upstreams.supernet.subnet import (
    SearchSpace,
    cut,
    parse_subnet,
    search_space,
    subnet_config,
    supernet_config,
)
from upstreams.supernet.subnet_counts import SubnetFamily

SMALL = SearchSpace(
    embed=(128, 192, 256), layers=(10, 11, 12), heads=(2, 3, 4), ffn=(3.0, 3.5, 4.0)
)
CHANNELS = 32


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Two threads that wait for each other on a busy machine take many times as long as one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def authors(**changes):
    """The authors' module with random weights, no two of its tensors alike, and those weights."""
    pytest.importorskip("s3prl")
    from bench.sound.torchaudio_guard import import_torchaudio

    import_torchaudio()
    from s3prl.upstream.lighthubert.lighthubert import LightHuBERT, LightHuBERTConfig

    config = LightHuBERTConfig()
    config.supernet_type = "small"
    for key, value in changes.items():
        setattr(config, key, value)
    torch.manual_seed(0)
    module = LightHuBERT(config).eval()
    state = module.state_dict()
    for name, tensor in state.items():
        if tensor.dim() == 1:
            tensor += 0.1 * torch.randn_like(tensor)
        elif name.endswith("weight_g"):
            tensor *= 1 + torch.rand_like(tensor)
    return module, state


def as_published(state):
    """A file's content in the published layout."""
    extras = {"label_embs_concat": torch.zeros(504, 256), "final_proj.weight": torch.zeros(1, 1)}
    extras["final_proj.bias"] = torch.zeros(1)
    model = {"_name": "hubert_pruner", "pruner_supernet": "config/Supernet-Small.yaml"}
    return {"cfg": {"model": model}, "model": state | extras}


def assert_equal(module, ours, subnet, sizes):
    """The authors' module, set to a subnet, and ours: parameters, and every hidden state."""
    module.set_sample_config(
        {
            "layer_num": subnet.layers,
            "embed_dim": subnet.embed,
            "heads_num": list(subnet.heads),
            "atten_dim": [64 * heads for heads in subnet.heads],
            "ffn_embed": list(subnet.ffn_widths),
            "slide_wsz": ["global"] * subnet.layers,
        }
    )
    count = sum(parameter.numel() for parameter in ours.parameters())
    assert count == module.calc_sampled_param_num()
    for size in sizes:
        wav = 0.1 * torch.randn(1, size, generator=torch.Generator().manual_seed(size))
        with torch.no_grad():
            normed = torch.nn.functional.layer_norm(wav, wav.shape[1:])  # as s3prl's expert
            whole = torch.zeros(wav.shape, dtype=torch.bool)
            expected = module.extract_features(normed, padding_mask=whole, ret_hs=True)[0]
            actual = ours(wav, torch.tensor([size])).states
        assert len(actual) == len(expected) == subnet.layers + 1
        for state, reference in zip(actual, expected, strict=True):
            assert float((state - reference).norm() / reference.norm()) <= 1e-5
    return count


@pytest.mark.slow
def test_two_hundred_random_subnets_of_a_small_supernet():
    """Sizes too: those of the module, of the closed form, and of the authors' count."""
    convs = f"[({CHANNELS},10,5)] + [({CHANNELS},3,2)] * 4 + [({CHANNELS},2,2)] * 2"
    module, state = authors(
        encoder_embed_dim=256,
        encoder_ffn_embed_dim=1024,
        encoder_attention_heads=4,
        conv_feature_layers=convs,
    )
    full = replace(
        supernet_config(BASE),
        embed_dim=256,
        heads=(4,) * 12,
        ffn=(1024,) * 12,
        mask_embedding=256,
        conv_layers=tuple((CHANNELS, kernel, stride) for _, kernel, stride in BASE.conv_layers),
    )
    supernet, family = (
        import_state(as_published(state), full, "small.yaml"),
        SubnetFamily(SMALL, full),
    )
    drawn = list(dict.fromkeys(family.sample(210, seed=3)))[:200]
    assert len(drawn) == 200 and {subnet.layers for subnet in drawn} == {10, 11, 12}
    for subnet in drawn:
        ours = build(subnet_config(full, subnet), cut(supernet, full, subnet))
        assert assert_equal(module, ours, subnet, (1_500,)) == family.params(subnet)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The authors' supernet in full size, the file of its weights, and those as we read them."""
    module, state = authors()
    path = tmp_path_factory.mktemp("weights") / "lighthubert_small.pt"
    data = as_published(state)
    torch.save(data, path)
    return module, path, import_state(data, supernet_config(BASE), "small.yaml")


@pytest.fixture(scope="module")
def space_and_default():
    config = upstream_card("lighthubert_small").config
    space = search_space(config["search_space"])
    return space, parse_subnet(config["default"], space, space.largest())


@pytest.mark.parametrize(
    "variant", [None, "max", "min", "random:1", "random:2", "random:5", "embed=512,heads=4"]
)
def test_equals_the_authors_supernet(published, space_and_default, variant):
    module, path, supernet = published
    space, default = space_and_default
    full = supernet_config(BASE)
    subnet = default if variant is None else parse_subnet(variant, space, default)
    if variant is None:  # through the file once; it is large
        ours = load(UpstreamSource(upstream_card("lighthubert_small").config, None, path))
    else:
        ours = build(subnet_config(full, subnet), cut(supernet, full, subnet))
    count = assert_equal(module, ours, subnet, (400, 5_001, 9_000))
    assert count == SubnetFamily(space, full).params(subnet)


@pytest.mark.slow
def test_two_hundred_random_subnets_in_full_size(published, space_and_default):
    module, _, supernet = published
    full = supernet_config(BASE)
    family = SubnetFamily(space_and_default[0], full)
    drawn = list(family.sample(200, seed=4))
    assert len(set(drawn)) == 200
    for subnet in drawn:
        ours = build(subnet_config(full, subnet), cut(supernet, full, subnet))
        assert assert_equal(module, ours, subnet, (1_500,)) == family.params(subnet)
