"""Students written out from the papers' formulas on published names, and files of their layouts.

Independent of our modules on purpose: plain functions of a dict of tensors, one utterance at a
time, in the order in which the papers describe them.
"""

import torch
import torch.nn.functional as F  # noqa: N812

from bench.sound.torchaudio_guard import import_torchaudio


def normed(x, tensors, name):
    return F.layer_norm(x, x.shape[-1:], tensors[f"{name}.weight"], tensors[f"{name}.bias"])


def mapped(x, tensors, name):
    return x @ tensors[f"{name}.weight"].T + tensors[f"{name}.bias"]


def positions(x, tensors, groups):
    """x (T, D) plus its convolutional positions; weight normalised over the kernel's dimension."""
    direction = tensors["encoder.pos_conv.0.weight_v"]
    norm = direction.pow(2).sum(dim=(0, 1), keepdim=True).sqrt()
    weight = tensors["encoder.pos_conv.0.weight_g"] * direction / norm
    bias, kernel = tensors["encoder.pos_conv.0.bias"], weight.shape[2]
    out = F.conv1d(x.T[None], weight, bias, padding=kernel // 2, groups=groups)[0].T
    return x + F.gelu(out[: len(x)])


def attended(x, tensors, name, heads, reused):
    """Attention over (T, D), and the map it made; with `reused` by that map, through a softmax."""
    parts = mapped(x, tensors, f"{name}.v_proj").chunk(heads, dim=-1)
    if reused is None:
        queries = mapped(x, tensors, f"{name}.q_proj").chunk(heads, dim=-1)
        keys = mapped(x, tensors, f"{name}.k_proj").chunk(heads, dim=-1)
        scale = queries[0].shape[1] ** -0.5
        scores = [scale * q @ k.T for q, k in zip(queries, keys, strict=True)]
    else:
        scores = reused
    made = [score.softmax(dim=-1) for score in scores]
    mixed = torch.cat([m @ value for m, value in zip(made, parts, strict=True)], dim=-1)
    return mapped(mixed, tensors, f"{name}.out_proj"), made


def layers_of(x, tensors, indices, heads, reuses=()):
    """Outputs of the post-norm layers with these numbers in the file."""
    outputs, kept = [], None
    for position, index in enumerate(indices):
        name = f"encoder.layers.{index}"
        reused = kept if reuses and reuses[position] else None
        out, made = attended(x, tensors, f"{name}.self_attn", heads, reused)
        kept = made if reused is None else kept
        x = normed(x + out, tensors, f"{name}.self_attn_layer_norm")
        hidden = mapped(F.gelu(mapped(x, tensors, f"{name}.fc1")), tensors, f"{name}.fc2")
        x = normed(x + hidden, tensors, f"{name}.final_layer_norm")
        outputs.append(x)
    return outputs


def convolved(wav, tensors, strides):
    """The waveform front end with one group norm: (S,) to (T, C)."""
    x = wav[None, None]
    for index, stride in enumerate(strides):
        name = f"feature_extractor.conv_layers.{index}"
        x = F.conv1d(x, tensors[f"{name}.0.weight"], stride=stride)
        if index == 0:
            scale, shift = tensors[f"{name}.2.weight"], tensors[f"{name}.2.bias"]
            x = F.group_norm(x, x.shape[1], scale, shift)
        x = F.gelu(x)
    return x[0].T


def student(wav, tensors, config):
    """The layers of a FitHuBERT, ARMHuBERT or STaRHuBERT, and the projections it has."""
    x = convolved(wav, tensors, [stride for _, _, stride in config.conv_layers])
    x = normed(x, tensors, "layer_norm")
    if "post_extract_proj.weight" in tensors:
        x = mapped(x, tensors, "post_extract_proj")
    x = normed(positions(x, tensors, config.pos_conv_groups), tensors, "encoder.layer_norm")
    first, factor = 0, config.time_reduction
    if factor > 1:
        first, name = 1, "encoder.layers.0"
        weight, bias = tensors[f"{name}.weight"], tensors[f"{name}.bias"]
        x = F.conv1d(x.T[None], weight, bias, stride=factor)[0].T
    numbers = range(first, first + config.num_layers)
    outputs = layers_of(x, tensors, numbers, config.heads[0], config.reuses)
    projected = []
    for index, x in enumerate(outputs):
        name = f"proj_head.{index}"
        if f"{name}.lin_proj.weight" not in tensors:
            continue
        if factor > 1:
            weight, bias = tensors[f"{name}.upsampler.weight"], tensors[f"{name}.upsampler.bias"]
            x = F.conv_transpose1d(x.T[None], weight, bias, stride=factor)[0].T
        projected.append(mapped(x, tensors, f"{name}.lin_proj"))
    return outputs, projected


def log_mel(wav, config):
    """MelHuBERT's input: Kaldi's filter bank of 16-bit samples, normalised, two frames a row."""
    kaldi = import_torchaudio("compliance.kaldi")
    mel = kaldi.fbank(
        wav[None] * 32_768,
        num_mel_bins=config.bins,
        sample_frequency=16_000,
        window_type="hamming",
        frame_length=25,
        frame_shift=10,
    )
    mel = (mel - torch.tensor(config.mean)) / torch.tensor(config.deviation)
    if config.stack == 1:
        return mel
    first, second = mel[::2], mel[1::2]
    if len(second) < len(first):
        second = torch.cat([second, torch.zeros(1, config.bins)])
    return torch.cat([first, second], dim=1)


def melhubert(wav, tensors, config):
    """MelHuBERT's projected frames and layers."""
    projected = mapped(log_mel(wav, config.kaldi), tensors, "pre_extract_proj")
    x = normed(positions(projected, tensors, config.pos_conv_groups), tensors, "encoder.layer_norm")
    outputs = []
    for index, heads in enumerate(config.heads):
        x = layers_of(x, tensors, [index], heads)[0]
        outputs.append(x)
    return [projected, *outputs]


def randomised(shapes, seed=0):
    """Random tensors that make every part matter: no zero biases, attention maps far from flat."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, shape in shapes.items():
        tensor = torch.randn(shape, generator=generator)
        if len(shape) == 1:
            tensors[name] = 0.1 * tensor + float(name.endswith("norm.weight") or ".0.2.w" in name)
        elif name.endswith("weight_g"):
            tensors[name] = tensor.abs() + 0.5
        else:
            fan_in = tensor[0].numel()
            wide = 2.0 if "q_proj" in name or "k_proj" in name else 1.0
            tensors[name] = wide * tensor / fan_in**0.5
    return tensors


def pair(name, outputs, inputs=None):
    """A linear map or, without inputs, a norm."""
    weight = (outputs,) if inputs is None else (outputs, inputs)
    return {f"{name}.weight": weight, f"{name}.bias": (outputs,)}


def encoder_shapes(config, first=0):
    """Of positions and layers, the layers' numbers beginning with `first`."""
    width, groups, kernel = config.embed_dim, config.pos_conv_groups, config.pos_conv_kernel
    shapes = {
        "encoder.pos_conv.0.bias": (width,),
        "encoder.pos_conv.0.weight_g": (1, 1, kernel),
        "encoder.pos_conv.0.weight_v": (width, width // groups, kernel),
        **pair("encoder.layer_norm", width),
    }
    for index, (heads, ffn) in enumerate(zip(config.heads, config.ffn, strict=True)):
        name, inner = f"encoder.layers.{index + first}", heads * config.head_dim
        reuses = bool(config.reuses) and config.reuses[index]
        for part in "v" if reuses else "kvq":
            shapes |= pair(f"{name}.self_attn.{part}_proj", inner, width)
        shapes |= pair(f"{name}.self_attn.out_proj", width, inner)
        shapes |= pair(f"{name}.self_attn_layer_norm", width)
        shapes |= pair(f"{name}.fc1", ffn, width) | pair(f"{name}.fc2", width, ffn)
        shapes |= pair(f"{name}.final_layer_norm", width)
    return shapes


def student_shapes(config):
    """Names and shapes of a student as its authors' code has them."""
    width, factor = config.embed_dim, config.time_reduction
    shapes, inputs = {}, 1
    for index, (channels, kernel, _) in enumerate(config.conv_layers):
        shapes[f"feature_extractor.conv_layers.{index}.0.weight"] = (channels, inputs, kernel)
        inputs = channels
    shapes |= pair("feature_extractor.conv_layers.0.2", config.conv_layers[0][0])
    shapes |= pair("layer_norm", inputs)
    if inputs != width:
        shapes |= pair("post_extract_proj", width, inputs)
    shapes |= encoder_shapes(config, first=int(factor > 1))
    resampler = {"weight": (width, width, factor), "bias": (width,)}
    if factor > 1:
        shapes |= {f"encoder.layers.0.{kind}": shape for kind, shape in resampler.items()}
        shapes |= {f"upsampler.{kind}": shape for kind, shape in resampler.items()}
    else:
        shapes["mask_emb"] = (width,)
    for index in range(config.num_layers if config.layer_projection else 0):
        shapes |= pair(f"proj_head.{index}.lin_proj", config.layer_projection, width)
        if factor > 1:
            for kind, shape in resampler.items():
                shapes[f"proj_head.{index}.upsampler.{kind}"] = shape
    return shapes


def lightning(tensors, **distiller):
    """A Lightning checkpoint around a student, with a teacher beside it."""
    state = {f"student_model.{name}": tensor for name, tensor in tensors.items()}
    state["teacher_model.model.mask_emb"] = torch.ones(3)
    return {
        "epoch": 199,
        "global_step": 1,
        "pytorch-lightning_version": "1.7.7",
        "state_dict": state,
        "callbacks": {"ModelCheckpoint{'monitor': 'v_loss'}": {"best_model_score": None}},
        "hyper_parameters": {"cfg": {"train": {"gpus": 2}, "distiller": distiller}},
    }


def melhubert_shapes(config):
    """Names and shapes of a MelHuBERT, its head for clusters among them."""
    width = config.embed_dim
    projection = pair("pre_extract_proj", width, config.kaldi.channels)
    return projection | encoder_shapes(config) | pair("final_proj", 7, width)
