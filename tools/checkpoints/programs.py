"""Models that are programs: ONNX, TorchScript, torch.export, and classes of one's own."""

import inspect

import torch
from torch import nn

from tools.checkpoints import stack
from tools.checkpoints.folders import FAMILY, wave_encoder, wave_states
from tools.checkpoints.made import Made, count
from tools.checkpoints.weight_files import write_card


def draw_stack(rng, kernel=None):
    """Draw a small encoder; return its name, its arguments and itself."""
    shape = {
        "body": rng.choice(stack.BODIES),
        "norm": rng.choice(["none", "batch", "group"]),
        "width": rng.choice([8, 16]),
        "kernel": kernel or rng.choice([320, 400]),
        "seed": rng.randrange(1000),
    }
    return f"convolution, {shape['norm']} norm, {shape['body']}", shape, stack.Stack(**shape)


def torchscript(rng, folder):
    """A TorchScript archive, traced or frozen."""
    name, _, model = draw_stack(rng)
    script = torch.jit.trace(model, torch.zeros(1, 16_001), check_trace=False)
    envelope = rng.choice(["traced", "frozen"])
    (torch.jit.freeze(script) if envelope == "frozen" else script).save(folder / "model.pt")
    kinds = ("TorchScript", name, envelope, "float32", "")
    # Freezing folds the norm into the convolution.
    return Made((f"torchscript:{folder / 'model.pt'}", "--allow-code"), kinds,
                lambda wav: model(wav[None]), count(model), files=folder / "model.pt",
                params_tolerance=0.35 if envelope == "frozen" else 0.0)  # fmt: skip


def pt2(rng, folder):
    """An archive of torch.export, of any length or of one second."""
    envelope = rng.choice(["any length", "one second"])
    name, shape, model = draw_stack(rng, kernel=320 if envelope == "one second" else None)
    sizes = ({1: torch.export.Dim.AUTO},) if envelope == "any length" else None
    wavs = torch.zeros(1, 16_001 if sizes else 16_000)
    program = torch.export.export(model, (wavs,), dynamic_shapes=sizes)
    torch.export.save(program, folder / "model.pt2")

    def states(wav):
        if sizes:
            return model(wav[None])
        return in_seconds(model, wav)

    kinds = ("torch.export", name, envelope, "float32", "")
    is_guarded = sizes and shape["body"] in ("gru", "lstm")  # torch ties them to their length
    return Made((f"pt2:{folder / 'model.pt2'}", "--allow-code"), kinds, states, count(model),
                files=folder / "model.pt2",
                broken=("a program for one length", "samples it fails") if is_guarded
                else None)  # fmt: skip


def in_seconds(model, wav):
    """Return the states of a sound in windows of a second, the last one filled with silence."""
    parts = []
    for part in wav.split(16_000):
        states = model(nn.functional.pad(part, (0, 16_000 - len(part)))[None])
        parts.append([state[:, : -(-len(part) // 320)] for state in states])
    return [torch.cat(states, dim=1) for states in zip(*parts, strict=True)]


def onnx_file(rng, folder):
    """An ONNX file of a small encoder: fixed or free length, external data, quantised."""
    import onnx
    from onnxruntime.quantization import quantize_dynamic

    storage = rng.choice(["float32", "float32", "float16", "int8"])
    length = rng.choice(["any length", "any length", "one second"])
    name, shape, model = draw_stack(rng, kernel=320 if length == "one second" else None)
    if storage == "float16":
        shape |= {"body": "linear"}
        name, model = name.rpartition(",")[0] + ", linear", stack.Stack(**shape).half()
    axes = {"wavs": {1: "S"}, "first": {1: "T"}, "second": {1: "T"}}
    path = folder / "model.onnx"
    sound = torch.zeros(1, 16_000, dtype=torch.float16 if storage == "float16" else torch.float32)
    torch.onnx.export(model, (sound,), path, input_names=["wavs"], opset_version=17,
                      output_names=["first", "second"], dynamo=False,
                      dynamic_axes=axes if length == "any length" else None)  # fmt: skip
    if storage == "int8":
        quantize_dynamic(path, path, op_types_to_quantize=["MatMul", "LSTM"])
    envelope = rng.choice(["one file", "external data"])
    if envelope == "external data":
        whole = onnx.load(path)
        onnx.save(whole, path, save_as_external_data=True, location="model.data",
                  size_threshold=0)  # fmt: skip
    model = model.float()
    run = (lambda wav: in_seconds(model, wav)) if length == "one second" else (
        lambda wav: model(wav[None]))  # fmt: skip
    kinds = ("ONNX", name, f"{length}, {envelope}", storage, "")
    is_traced = shape["body"] == "attention" and length == "any length"
    # Evaluation folds a batch norm into the convolution before it.
    folded = 4 * shape["width"] / count(model)
    return Made((f"onnx:{path}",), kinds, run, count(model), files=path,
                tolerance={"float32": 1e-5, "float16": 1e-2, "int8": 0.3}[storage],
                params_tolerance=folded + 1e-9,
                broken=("a program for one length", "samples it fails") if is_traced
                else None)  # fmt: skip


def onnx_hubert(rng, folder):
    """An ONNX file of a model of transformers."""
    name, _, encoder, _ = wave_encoder(rng, folder / "hf", FAMILY)

    class Outputs(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = encoder

        def forward(self, wavs):
            return wave_states(self.inner, False)(wavs[0])

    axes = {"wavs": {1: "S"}} | {f"h{index}": {1: "T"} for index in range(3)}
    path = folder / "model.onnx"
    torch.onnx.export(Outputs().eval(), (torch.zeros(1, 16_000),), path, input_names=["wavs"],
                      output_names=["h0", "h1", "h2"], dynamic_axes=axes, dynamo=False,
                      opset_version=17)  # fmt: skip
    kinds = ("ONNX", name, "any length, one file", "float32", "")
    # The mask vector is not in the graph, and weight normalisation may be folded.
    return Made((f"onnx:{path}",), kinds, wave_states(encoder, False), count(encoder), files=path,
                params_tolerance=0.01, tolerance=2e-5)  # fmt: skip


BUILDER = """
def build(checkpoint, form, **shape):
    model = Stack(**shape)
    model.load_state_dict(torch.load(checkpoint, weights_only=True))
    if form == "quantised":
        return torch.ao.quantization.quantize_dynamic(model, {nn.Linear})
    return model if form == "module" else model.forward
"""


def builder(rng, folder):
    """A class of one's own in a file beside the card, with its weights."""
    name, shape, model = draw_stack(rng)
    form = rng.choice(["module", "function", "quantised"])
    if form == "quantised":
        shape["body"] = "linear"
        model, name = stack.Stack(**shape), name.rpartition(",")[0] + ", linear"
    module = f"generated_{folder.name}"
    (folder / f"{module}.py").write_text(inspect.getsource(stack) + BUILDER, encoding="utf-8")
    torch.save(model.state_dict(), folder / "weights.pt")
    words = write_card(folder, builder=f"{module}:build", args={**shape, "form": form},
                       checkpoint={"file": "weights.pt"})  # fmt: skip
    storage = "int8" if form == "quantised" else "float32"
    kinds = ("Python builder", name, form, storage, "")
    return Made((*words, "--allow-code"), kinds, lambda wav: model(wav[None]),
                count(model), files=folder / "weights.pt",
                tolerance=0.05 if form == "quantised" else 1e-5)  # fmt: skip
