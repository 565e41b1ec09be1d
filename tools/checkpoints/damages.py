"""Damage a checkpoint so that it must be refused, and name the reason that the line must give."""

import json
import os
from contextlib import suppress

import torch

CUT = "truncated|corrupt|cannot be read|cannot load"


class Command:
    """A pickle that would run a command when it is loaded."""

    def __reduce__(self):
        return os.system, ("true",)


def edit_json(path, **keys):
    path.write_text(json.dumps(json.loads(path.read_text()) | keys), encoding="utf-8")


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def weights_of(folder):
    files = [*folder.glob("*.safetensors"), *folder.glob("*.bin")]
    return sorted(file for file in files if "adapter" not in file.name)


def tensors_in(content):
    """Return the mapping of a file, perhaps inside others, that has the tensors of a model."""
    stack, found = [content], content
    while stack:
        item = stack.pop()
        if sum(isinstance(value, torch.Tensor) for value in item.values()) > 8:
            found = item
        stack += [value for value in item.values() if isinstance(value, dict)]
    return found


def edit_tensors(path, edit):
    """Change the tensors of a file; `edit` gets the mapping that has the most of them."""
    from safetensors.torch import load_file, save_file

    if path.suffix == ".safetensors":
        tensors = load_file(path)
        edit(tensors)
        save_file(tensors, path, metadata={"format": "pt"})
        return
    content = torch.load(path, weights_only=True)
    edit(tensors_in(content))
    torch.save(content, path)


def feed_forward(tensors):
    """Return the name of a weight of a layer."""
    words = ("fc1.weight", "intermediate_dense.weight", "out_proj.weight", "fc2.weight",
             "fc1.weight_orig", "ffn_in.weight")  # fmt: skip
    return next(key for key in sorted(tensors) if key.endswith(words))


def drop(tensors):
    del tensors[feed_forward(tensors)]


def reshape(tensors):
    key = feed_forward(tensors)
    tensors[key] = torch.zeros(3, 5)


def spoil(tensors):
    key = feed_forward(tensors)
    tensors[key] = tensors[key].clone().fill_(float("nan"))


def integers(tensors):
    key = feed_forward(tensors)
    tensors[key] = torch.ones_like(tensors[key], dtype=torch.int32)


def foreign(tensors):
    key = next(key for key in sorted(tensors) if "layers.0." in key)
    tensors[key.partition("layers.0.")[0] + "layers.0.mixture.weight"] = torch.ones(4)


def adapted(tensors):
    key = feed_forward(tensors).removesuffix("_orig")
    tensors[key.removesuffix("weight") + "lora_A.default.weight"] = torch.ones(4, 4)


def another(path):
    content = torch.load(path, weights_only=True)
    tensors = tensors_in(content).items()
    other = {k: v + 1 if isinstance(v, torch.Tensor) else v for k, v in tensors}
    torch.save({"first": content, "second": other}, path)


def on_file(edit):
    return lambda rng, made: edit_tensors(made.files, edit)


def on_folder(edit):
    """Edit the first file, of one or several, that has a weight of a layer."""

    def damage(rng, made):
        for path in weights_of(made.files):
            with suppress(StopIteration):
                edit_tensors(path, edit)
                return

    return damage


def remove(name):
    return lambda rng, made: (made.files / name).unlink()


FOLDER = {
    "no config.json": (remove("config.json"), "no config.json"),
    "no weights": (lambda rng, made: [f.unlink() for f in weights_of(made.files)],
                   "no weights|does not exist"),
    "no file of the feature extractor": (
        remove("preprocessor_config.json"), "preprocessor_config.json"),
    "a file of weights cut off": (lambda rng, made: cut(weights_of(made.files)[0]), CUT),
    "a model that transformers does not know": (
        lambda rng, made: edit_json(made.files / "config.json", model_type="mine"), "cannot load"),
    "an extractor of another rate": (
        lambda rng, made: edit_json(made.files / "preprocessor_config.json", sampling_rate=8000),
        "sampling_rate 8000"),
    "an absurd number of layers": (
        lambda rng, made: edit_json(made.files / "config.json", num_hidden_layers=10**7,
                                    encoder_layers=10**7), "at most 256"),
    "configuration that is no JSON": (
        lambda rng, made: (made.files / "config.json").write_text("{"), "not valid JSON"),
}  # fmt: skip
TENSORS = {
    "a tensor is missing": (on_folder(drop), "missing"),
    "a tensor of another shape": (on_folder(reshape), "shape"),
    "a tensor of NaN": (on_folder(spoil), "NaN|not finite|finite"),
}
FILE = {
    "a tensor is missing": (on_file(drop), "missing tensors"),
    "a tensor of another shape": (on_file(reshape), "expected shape|another shape"),
    "a tensor of NaN": (on_file(spoil), "NaN"),
    "a tensor of integers": (on_file(integers), "floating-point"),
    "a tensor that our encoder lacks": (on_file(foreign), "unexpected tensors"),
    "an adapter that is not merged": (on_file(adapted), "adapter that is not merged"),
    "two encoders": (lambda rng, made: another(made.files), "holds 2 encoders"),
    "a pickle that would run code": (
        lambda rng, made: torch.save({"model": Command()}, made.files), "would run"),
    "a file of GGUF": (
        lambda rng, made: made.files.write_bytes(b"GGUF" + bytes(200)), "neither a safetensors"),
    "a file cut off": (lambda rng, made: cut(made.files), CUT),
    "another network": (
        lambda rng, made: torch.save({"model": torch.nn.GRU(8, 8).state_dict()}, made.files),
        "unknown layout"),
    "a TorchScript archive": (
        lambda rng, made: torch.jit.script(torch.nn.Linear(2, 2)).save(made.files), "a program"),
    "a configuration that contradicts the card": (
        lambda rng, made: contradict(rng, made.files), "its own configuration"),
}  # fmt: skip


def contradict(rng, path):
    content = torch.load(path, weights_only=True)
    key, value = rng.choice([("activation_fn", "relu"), ("layer_type", "conformer"),
                             ("conv_feature_layers", "[(24, 10, 5)] * 7"),
                             ("encoder_attention_heads", 8)])  # fmt: skip
    torch.save({"model": content, "args": {key: value}}, path)


def two_inputs(rng, made):
    import onnx
    from onnx import TensorProto, helper

    model = onnx.load(made.files)
    model.graph.input.append(helper.make_tensor_value_info("other", TensorProto.FLOAT, [1]))
    onnx.save(model, made.files)


def custom(rng, made):
    import onnx

    model = onnx.load(made.files, load_external_data=False)
    model.graph.node[0].domain = "my.operators"
    onnx.save(model, made.files)


def lengthen(rng, made):
    """Fix the length to one that the frames do not divide."""
    import onnx

    model = onnx.load(made.files)
    model.graph.input[0].type.tensor_type.shape.dim[-1].dim_value = 16_001
    onnx.save(model, made.files)


ONNX = {
    "a file cut off": (lambda rng, made: made.files.write_bytes(made.files.read_bytes()[:40]),
                       "not an ONNX file"),
    "an operator of one's own": (custom, "operators of my.operators"),
    "another input": (two_inputs, "expected one input"),
    "a fixed length that the frames do not divide": (lengthen, "dynamic axis|do not divide"),
}  # fmt: skip
PROGRAM = {"a file cut off": (lambda rng, made: cut(made.files), "not an? .*archive")}
CONSENT = "--allow-code"


def rewrite(old, new):
    """Return a damage of the module beside a card."""

    def damage(rng, made):
        (path,) = made.files.parent.glob("*.py")
        content = path.read_text()
        assert old in content
        path.write_text(content.replace(old, new), encoding="utf-8")

    return damage


BUILDER = {
    "no such module": (lambda rng, made: next(made.files.parent.glob("*.py")).unlink(),
                       "no module named"),
    "the builder raises an error": (
        rewrite("    model = Stack", "    raise KeyError('x')\n    model = Stack"),
        "raised KeyError"),
    "weights are drawn without a seed": (
        rewrite("    model.load_state_dict(torch.load(checkpoint, weights_only=True))\n",
                "    nn.init.normal_(model.conv.weight)\n"), "built twice"),
    "numbers are drawn in every pass": (
        rewrite("first = self.norm(self.conv(wavs.reshape(1, 1, -1)))",
                "first = self.norm(self.conv(wavs.reshape(1, 1, -1))) + torch.rand(1)"),
        "two calls on one input differ"),
}  # fmt: skip


def damages_of(made):
    """Return the damages that fit a checkpoint."""
    form = made.kind[0]
    if form == "adapter (PEFT)":
        return ADAPTER
    if form == "Transformers folder":
        is_known = made.kind[4] != "its own"
        return FOLDER | TENSORS if is_known else FOLDER
    if form == "ONNX":
        return ONNX
    if form in ("TorchScript", "torch.export"):
        return PROGRAM
    return BUILDER if form == "Python builder" else FILE


def no_fit(rng, made):
    from safetensors.torch import load_file, save_file

    path = made.files / "adapter_model.safetensors"
    save_file({key.replace("layers", "blocks"): x for key, x in load_file(path).items()}, path)


ADAPTER = {
    "an adapter without its base model": (remove("config.json"), "adapter without its base"),
    "an adapter without weights": (remove("adapter_model.safetensors"), "adapter_model"),
    "an adapter that fits nothing": (no_fit, "adapter changes no weight|adapter"),
}


def damage(rng, made):
    """Damage a checkpoint; return the name of the damage and what the line must say."""
    choices = damages_of(made)
    name = rng.choice([*sorted(choices), *(["no consent"] if CONSENT in made.words else [])])
    if name == "no consent":
        return name, "would run code", tuple(word for word in made.words if word != CONSENT)
    edit, reason = choices[name]
    edit(rng, made)
    return name, reason, made.words
