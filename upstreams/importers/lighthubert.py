"""LightHuBERT: any subnet of the published supernets, as an encoder of its size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bench.api import Upstream, UpstreamSource
from bench.errors import InvalidDataError, UsageError
from upstreams.encoder.config import EncoderConfig
from upstreams.encoder.state import State, build, random_state
from upstreams.formats.checkpoint import plain, read_checkpoint
from upstreams.formats.layout import take
from upstreams.formats.layouts.fairseq import fairseq_names
from upstreams.supernet.subnet import (
    cut,
    parse_subnet,
    search_space,
    subnet_config,
    supernet_config,
)
from upstreams.supernet.subnet_counts import SubnetFamily

# The supernets normalise utterances, have layer norms in the front end, and give hidden states from
# before the positional convolution (the authors' `extract_features(ret_hs=True)`).
BASE = EncoderConfig(extractor_mode="layer_norm", normalize_wav=True, first_state="projection")

# Other tensors of the published files: HuBERT's targets and the distillation head.
EXTRAS = ("label_embs_concat", "final_proj.", "layer_pred_heads.")


def load(source: UpstreamSource) -> Upstream:
    """Load the subnet that the card or its variant names.

    The card's `config` has a `search_space`, the `default` subnet, and optionally `supernet`, the
    ending that `pruner_supernet` in the checkpoint must have.

    Raises:
        UsageError: the `config` of the card or the variant is not valid.
        InvalidDataError: the file does not contain the weights of this supernet.
    """
    config = dict(source.config)
    unknown = set(config) - {"search_space", "default", "supernet"}
    if unknown or "search_space" not in config:
        raise UsageError(
            f"lighthubert config: the keys search_space, default, supernet expected, "
            f"found {', '.join(sorted(config)) or 'none'}"
        )
    space = search_space(config["search_space"])
    default = parse_subnet(config.get("default", "max"), space, space.largest())
    subnet = default
    if source.variant is not None:
        subnet = parse_subnet(source.variant, space, default, seed=source.seed)
    full = replace(supernet_config(BASE), tap=source.tap)
    if source.checkpoint is None:
        state = random_state(full, source.seed)
    else:
        state = import_state(read_checkpoint(source.checkpoint), full, config.get("supernet"))
    encoder = build(subnet_config(full, subnet), cut(state, full, subnet))
    if subnet != default:
        short = {space.smallest(): "min", space.largest(): "max"}
        encoder.variant = short.get(subnet, subnet.text())
    return encoder


def subnets(config: Mapping[str, Any]) -> SubnetFamily:
    """Return all subnets of a card, for lists and counts (`bench.supernets.subnets`).

    Raises:
        UsageError: the `config` of the card has no valid `search_space`.
    """
    if "search_space" not in config:
        raise UsageError("lighthubert config: the key search_space expected")
    return SubnetFamily(search_space(config["search_space"]), supernet_config(BASE))


def import_state(data: Any, config: EncoderConfig, supernet: str | None = None) -> State:
    """Take the supernet's state out of a published file, a dict with `cfg` and `model`.

    Args:
        data: content of the file.
        config: shape of the supernet.
        supernet: required ending of `pruner_supernet` in the file, in lower case; None for the
            first-stage student, whose file does not have it.

    Raises:
        InvalidDataError: the file is of another kind or another supernet, or tensors do not fit.
    """
    if not isinstance(data, dict) or not {"cfg", "model"} <= set(data):
        raise InvalidDataError("LightHuBERT checkpoint: expected a dict with 'cfg' and 'model'")
    cfg = plain(data["cfg"])
    model = cfg.get("model") if isinstance(cfg, dict) else None
    kind = model.get("_name") if isinstance(model, dict) else None
    expected = "student_hubert" if supernet is None else "hubert_pruner"
    if kind != expected:
        raise InvalidDataError(
            f"LightHuBERT checkpoint: expected a {expected!r} model, found {kind!r}"
        )
    stated = str(model.get("pruner_supernet", "") if isinstance(model, dict) else "").lower()
    if supernet is not None and not stated.endswith(supernet):
        raise InvalidDataError(
            f"LightHuBERT checkpoint: expected the supernet of {supernet!r}, found {stated!r}"
        )
    return take(data["model"], fairseq_names(config), config, EXTRAS)
