"""Subnets: names, sizes, and what a loaded one says it is."""

from types import SimpleNamespace

import pytest

from bench.api import UpstreamSource
from bench.errors import UsageError
from bench.load.catalog import upstream_card
from upstreams.encoder.state import num_parameters
from upstreams.importers.lighthubert import BASE, load
from upstreams.supernet.subnet import parse_subnet, search_space, subnet_config, supernet_config


def space_and_default(name):
    config = upstream_card(name).config
    space = search_space(config["search_space"])
    return space, parse_subnet(config["default"], space, space.largest())


def params(subnet):
    return num_parameters(subnet_config(supernet_config(BASE), subnet))


@pytest.mark.parametrize(
    ("name", "size", "sizes"),
    [
        ("lighthubert_small", 951_892_141_473, (11_449_088, 26_879_744, 44_398_336)),
        ("lighthubert_base", 6_530_347_008, (41_249_536, 66_897_664, 94_377_728)),
        ("lighthubert_stage1", 1, (94_377_728,) * 3),
    ],
)
def test_search_spaces_and_published_sizes(name, size, sizes):
    space, default = space_and_default(name)
    assert space.size() == size
    assert tuple(map(params, (space.smallest(), default, space.largest()))) == sizes


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("embed=256,layers=10,heads=4,ffn=3.0", "embed=256,layers=10,heads=4,ffn=3.0"),
        ("ffn=3,heads=8", "embed=384,layers=12,heads=8,ffn=3.0"),
        (
            "layers=10,heads=4-4-4-4-4-6-6-6-8-8",
            "embed=384,layers=10,heads=4-4-4-4-4-6-6-6-8-8,ffn=4.0",
        ),
        ("min", "embed=256,layers=10,heads=4,ffn=3.0"),
        ("max", "embed=512,layers=12,heads=8,ffn=4.0"),
    ],
)
def test_names_have_one_spelling(text, canonical):
    space, default = space_and_default("lighthubert_small")
    subnet = parse_subnet(text, space, default)
    assert subnet.text() == canonical
    assert parse_subnet(canonical, space, default) == subnet


def test_random_subnets_are_reproducible_and_in_the_space():
    space, default = space_and_default("lighthubert_small")
    drawn = [parse_subnet(f"random:{seed}", space, default) for seed in range(40)]
    assert drawn == [space.sample(seed) for seed in range(40)]
    assert len(set(drawn)) == 40
    assert {subnet.layers for subnet in drawn} == {10, 11, 12}
    for subnet in drawn:
        space.check(subnet)
        assert parse_subnet(subnet.text(), space, default) == subnet


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("embed=300", "embed=300.* is not one of 256, 384, 512"),
        ("layers=9", "layers=9 is not one of 10, 11, 12"),
        ("heads=5", "heads=5 is not one of 4, 6, 8"),
        ("ffn=2.5", "ffn=2.5 is not one of 3.0, 3.5, 4.0"),
        ("layers=10,heads=4-4", "heads has 2 values for 10 layers"),
        ("embed=256-384", "embed has 2 values for 1"),
        ("embed", "cannot read 'embed'"),
        ("embed=256,embed=384", "cannot read 'embed=384'"),
        ("width=3", "cannot read 'width=3'"),
        ("heads=four", "'four' is not a number"),
        ("heads=4.0", "'4.0' is not a number"),
        ("embed=256.5", "'256.5' is not a number"),
        ("random:x", "cannot read"),
        ("random:-1", "cannot read"),
        ("embed=²", "is not a number"),
        ("embed=99999999999", "is not a number"),
        ("layers=0", "layers=0 is not one of"),
        ("", "cannot read"),
        ("min,max", "cannot read 'min'"),
    ],
)
def test_malformed_subnets_are_told(text, words):
    space, default = space_and_default("lighthubert_small")
    with pytest.raises(UsageError, match=words):
        parse_subnet(text, space, default)


@pytest.mark.parametrize(
    "section",
    [
        {"embed": [256], "layers": [12], "heads": [4]},
        {"embed": [256], "layers": [12], "heads": [4], "ffn": "4.0"},
        {"embed": [256], "layers": [3], "heads": [4], "ffn": [4.0]},
        {"embed": [True], "layers": [12], "heads": [4], "ffn": [4.0]},
    ],
)
def test_search_space_that_does_not_hold(section):
    with pytest.raises(UsageError, match="search_space"):
        search_space(section)


@pytest.mark.parametrize(
    ("variant", "canonical"),
    [
        ("max", "max"),
        ("min", "min"),
        ("random:7", "explicit"),
        ("embed=384", None),
        ("layers=10,embed=256,heads=4,ffn=3", "min"),
    ],
)
def test_loaded_variants_say_what_they_are(variant, canonical, monkeypatch):
    monkeypatch.setattr("upstreams.importers.lighthubert.random_state", lambda *_: {})
    monkeypatch.setattr("upstreams.importers.lighthubert.cut", lambda *_: {})
    built = SimpleNamespace(variant=None)
    monkeypatch.setattr("upstreams.importers.lighthubert.build", lambda *_: built)
    load(UpstreamSource(upstream_card("lighthubert_small").config, variant))
    space, default = space_and_default("lighthubert_small")
    explicit = parse_subnet(variant, space, default).text()
    assert built.variant == (explicit if canonical == "explicit" else canonical)
