"""Files of weights in the names of a library, in any envelope, each with a card."""

import torch
import yaml

from bench.load.catalog import upstream_card
from tools.checkpoints.folders import FAMILY, HALVES, wave_encoder, wave_states
from tools.checkpoints.made import Made, count
from upstreams.encoder.config import encoder_config
from upstreams.formats.layout import plain_spelling
from upstreams.formats.layouts.fairseq import fairseq_names
from upstreams.formats.layouts.huggingface import hf_names
from upstreams.formats.layouts.torchaudio import torchaudio_names

FLOATS = HALVES | {"float64": torch.float64}
PIECES = (
    *("module", "_orig_mod", "model", "hubert", "student", "net", "encoder", "backbone"),
    *("w2v_encoder.w2v_model", "frontend.upstream.upstream.model", "feature_extract.model"),
    *("encoder.hubert_pretrain_model.wav2vec2", "encoder.encoders"),
)
KEYS = ("model", "state_dict", "model_state_dict", "checkpoint", "ema", "student", "params", "net")
LAYOUTS = {"transformers": hf_names, "fairseq": fairseq_names, "torchaudio": torchaudio_names}


def card_config(model, normalize):
    """Return a card's `config` for an encoder of transformers."""
    theirs = model.config
    section = {
        "conv_layers": [
            list(layer)
            for layer in zip(theirs.conv_dim, theirs.conv_kernel, theirs.conv_stride, strict=True)
        ],
        "extractor_mode": f"{theirs.feat_extract_norm}_norm",
        "conv_bias": theirs.conv_bias,
        "feature_norm": getattr(theirs, "feat_proj_layer_norm", True),
        "embed_dim": theirs.hidden_size,
        "pos_conv_kernel": theirs.num_conv_pos_embeddings,
        "pos_conv_groups": theirs.num_conv_pos_embedding_groups,
        "num_layers": theirs.num_hidden_layers,
        "heads": theirs.num_attention_heads,
        "head_dim": theirs.hidden_size // theirs.num_attention_heads,
        "ffn": theirs.intermediate_size,
        "layer_norm_first": theirs.do_stable_layer_norm,
        "normalize_wav": normalize,
        "mask_embedding": theirs.hidden_size,
    }
    if theirs.model_type == "wavlm":
        section["relative_buckets"] = theirs.num_buckets
        section["relative_distance"] = theirs.max_bucket_distance
    return section


def write_card(folder, **keys):
    """Write a card and return the words of the command."""
    card = {"name": "generated", "title": "Generated", "family": "other"} | keys
    (folder / "card.yaml").write_text(yaml.safe_dump(card), encoding="utf-8")
    return ("generated", "--card", str(folder / "card.yaml"))


def envelope_of(rng):
    """Draw a prefix and the keys of the mappings around the tensors."""
    prefix = "".join(f"{piece}." for piece in rng.choices(PIECES, k=rng.choice([0, 1, 1, 2, 3])))
    return prefix, rng.sample(KEYS, k=rng.choice([0, 1, 1, 2, 3]))


def wrapped(tensors, keys):
    """Return tensors in mappings, as files of training have them."""
    content = tensors
    for key in reversed(keys):
        content = {key: content, "epoch": 3, "optimizer": {"state": {}, "lr": 0.1}}
    return content


def file_and_card(rng, folder):
    """A file of weights in any envelope, and a card."""
    layout = rng.choice(sorted(LAYOUTS))
    is_of_layout = layout != "torchaudio"  # which has other names for WavLM, and no DistilHuBERT
    zoo = {name: item for name, item in FAMILY.items()
           if is_of_layout or not name.startswith(("WavLM", "Distil"))}  # fmt: skip
    name, _, model, normalize = wave_encoder(rng, folder / "hf", zoo)
    storage = rng.choice(sorted(FLOATS))
    model = model.to(FLOATS[storage])
    section = card_config(model, normalize)
    config = encoder_config(section)
    inner = plain_spelling(model.state_dict())
    names, theirs = LAYOUTS[layout](config), hf_names(config)
    tensors = {new: inner[theirs[ours]].clone() for ours, new in names.items()}
    model = model.float()
    prefix, keys = envelope_of(rng)
    is_pruned = rng.random() < 0.15
    if is_pruned:
        new = rng.choice(sorted(new for ours, new in names.items() if ".ffn_" in ours
                                and ours.endswith("weight")))  # fmt: skip
        mask = (torch.rand(tensors[new].shape) > 0.3).to(tensors[new].dtype)
        ours = next(ours for ours, value in names.items() if value == new)
        model.get_parameter(theirs[ours]).data.mul_(mask.float())
        tensors |= {f"{new}_orig": tensors.pop(new), f"{new}_mask": mask}
    content = {prefix + key: tensor for key, tensor in tensors.items()}
    bare = all(piece in ("module", "_orig_mod") for piece in prefix.split(".")[:-1])
    head = rng.choice(["", "head"]) if not bare else ""
    if head:
        content |= {"head.weight": torch.ones(3, 32), "criterion.scale": torch.ones(1)}
    is_stated = layout == "fairseq" and rng.random() < 0.3
    content = wrapped(content, keys)
    if is_stated and keys:
        content |= {"cfg": {"model": stated(section), "task": {"normalize": normalize}}}
    torch.save(content, folder / "weights.pt")
    words = write_card(folder, load=upstream_card("hubert_base").load, config=section,
                       checkpoint={"file": "weights.pt"})  # fmt: skip
    around = " > ".join([*keys, prefix or "-"]) + (", pruned" if is_pruned else "")
    kinds = (f"file in the names of {layout}", name, around, storage, head)
    return Made(words, kinds, wave_states(model, normalize), count(model),
                files=folder / "weights.pt")  # fmt: skip


def stated(section):
    """Return fairseq's configuration of a card's."""
    return {
        "encoder_layers": section["num_layers"],
        "encoder_embed_dim": section["embed_dim"],
        "encoder_ffn_embed_dim": section["ffn"],
        "encoder_attention_heads": section["heads"],
        "conv_feature_layers": str([tuple(layer) for layer in section["conv_layers"]]),
        "conv_bias": section["conv_bias"],
        "layer_norm_first": section["layer_norm_first"],
        "activation_fn": "gelu",
    }
