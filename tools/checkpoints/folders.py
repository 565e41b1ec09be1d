"""Folders of transformers: encoders of many architectures, task models, adapters."""

import torch
from heard import KINDS as HEARD
from heard import heard_states, save_heard
from models import save_hubert
from references import disturb
from torch import nn

from tools.checkpoints.made import Made, count

STABLE = {"do_stable_layer_norm": True, "feat_extract_norm": "layer", "conv_bias": True}
SEW = {
    "squeeze_factor": 2,
    "conv_dim": [24] * 7,
    "conv_stride": [5, 2, 2, 2, 2, 2, 2],
    "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
}
FAMILY = {
    "HuBERT": ("Hubert", {}),
    "HuBERT large": ("Hubert", STABLE),
    "wav2vec 2.0": ("Wav2Vec2", {}),
    "wav2vec 2.0 large": ("Wav2Vec2", STABLE),
    "WavLM": ("WavLM", {}),
    "WavLM large": ("WavLM", STABLE | {"conv_bias": False}),
    "DistilHuBERT": ("Hubert", {"feat_proj_layer_norm": False}),
}
WAVE = FAMILY | {
    "HuBERT, gelu_new": ("Hubert", {"hidden_act": "gelu_new"}),
    "HuBERT, batch-normed positions": ("Hubert", {"conv_pos_batch_norm": True}),
    "wav2vec 2.0, layer_norm_eps": ("Wav2Vec2", {"layer_norm_eps": 1e-2}),
    "wav2vec 2.0, MMS adapters": ("Wav2Vec2", STABLE | {"adapter_attn_dim": 8}),
    "WavLM, relu in the front end": ("WavLM", {"feat_extract_activation": "relu"}),
    "Data2Vec": ("Data2VecAudio", {"feat_extract_norm": "layer"}),
    "Conformer, relative": ("Wav2Vec2Conformer", {"position_embeddings_type": "relative"}),
    "Conformer, rotary": ("Wav2Vec2Conformer", {"position_embeddings_type": "rotary"}),
    "UniSpeech": ("UniSpeech", {}),
    "UniSpeech-SAT": ("UniSpeechSat", {}),
    "SEW": ("SEW", SEW),
    "SEW-D": ("SEWD", SEW | {"position_buckets": 16, "max_position_embeddings": 32}),
}
HEADS = {
    "ForCTC": {"vocab_size": 12},
    "ForSequenceClassification": {"num_labels": 3, "classifier_proj_size": 8},
    "ForXVector": {
        "tdnn_dim": (16, 16), "tdnn_kernel": (3, 1), "tdnn_dilation": (1, 1),
        "xvector_output_dim": 8,
    },
    "ForAudioFrameClassification": {"num_labels": 3},
    "ForPreTraining": {"num_codevectors_per_group": 8, "codevector_dim": 16,
                       "proj_codevector_dim": 16},
}  # fmt: skip
HALVES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def wave_states(encoder, normalize):
    """Return a function to the states of transformers' encoder, the last after its norm."""

    def states(wav):
        wav = nn.functional.layer_norm(wav, wav.shape) if normalize else wav
        output = encoder(wav[None], output_hidden_states=True)
        *first, last = output.hidden_states
        final = output.last_hidden_state
        return (*first, final if final.shape == last.shape else last)

    return states


def wave_encoder(rng, folder, zoo, **changes):
    """Save a model of transformers with its extractor.

    Returns:
        its name, its class, the encoder, and whether its waveforms are normalised.
    """
    name = rng.choice(sorted(zoo))
    kind, shape = zoo[name]
    normalize = rng.random() < 0.5
    encoder = save_hubert(folder, kind, do_normalize=normalize, **(shape | changes))
    torch.manual_seed(rng.randrange(2**31))
    return name, kind, disturb(encoder), normalize


def with_head(encoder, kind, head):
    """Return a task model on an encoder."""
    import transformers

    for key, value in HEADS[head].items():
        setattr(encoder.config, key, value)
    task = disturb(getattr(transformers, f"{kind}{head}")(encoder.config).eval())
    getattr(task, task.base_model_prefix).load_state_dict(encoder.state_dict())
    return task


def hf_folder(rng, folder):
    """A Transformers folder: task models, sharded and older files, half precision."""
    import transformers

    name, kind, encoder, normalize = wave_encoder(rng, folder, WAVE)
    heads = [head for head in HEADS if hasattr(transformers, f"{kind}{head}")]
    head = rng.choice(["", *heads])
    storage = rng.choice(sorted(HALVES))
    model = (with_head(encoder, kind, head) if head else encoder).to(HALVES[storage])
    envelope = rng.choice(["safetensors", "sharded", "pytorch_model.bin"])
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="20KB" if envelope == "sharded" else "1GB")
    if envelope == "pytorch_model.bin":
        (folder / "model.safetensors").unlink()
        torch.save(model.state_dict(), folder / envelope)
    encoder = (getattr(model, model.base_model_prefix) if head else model).float().eval()
    kinds = ("Transformers folder", name, envelope, storage, head)
    return Made((f"hf:{folder}",), kinds, wave_states(encoder, normalize), count(encoder),
                files=folder)  # fmt: skip


def adapter(rng, folder):
    """A Transformers folder with a PEFT adapter beside the weights."""
    import transformers
    from peft import IA3Config, LoraConfig, get_peft_model

    zoo = {name: WAVE[name] for name in ("HuBERT", "HuBERT large", "WavLM", "wav2vec 2.0",
                                         "Data2Vec")}  # fmt: skip
    name, kind, encoder, normalize = wave_encoder(rng, folder, zoo)
    head = rng.choice(["", "ForCTC"])
    model = with_head(encoder, kind, head) if head else encoder
    model.save_pretrained(folder)
    places = {"target_modules": ["q_proj", "v_proj"]}
    envelope = rng.choice(["LoRA", "DoRA", "IA3"])
    config = {
        "LoRA": lambda: LoraConfig(r=rng.choice([2, 4]), **places),
        "DoRA": lambda: LoraConfig(r=2, use_dora=True, **places),
        "IA3": lambda: IA3Config(target_modules=["k_proj", "v_proj"], feedforward_modules=[]),
    }[envelope]()
    adapted = get_peft_model(model, config)
    with torch.no_grad():
        for key, parameter in adapted.named_parameters():
            if "lora_B" in key or "ia3_l" in key:
                parameter.add_(0.3 * torch.randn_like(parameter))
    adapted.save_pretrained(folder)
    merged = adapted.merge_and_unload()
    encoder = (getattr(merged, merged.base_model_prefix) if head else merged).eval()
    del transformers
    kinds = ("adapter (PEFT)", name, envelope, "float32", head)
    return Made((f"hf:{folder}",), kinds, wave_states(encoder, normalize), count(encoder),
                files=folder)  # fmt: skip


def heard(rng, folder):
    """A Transformers folder of a model that hears features."""
    name = rng.choice(sorted(HEARD))
    encoder, extract = save_heard(folder, name, seed=rng.randrange(1000))
    kinds = ("Transformers folder", name, "safetensors", "float32", "its own")
    # Its extractor divides by the deviation of the frames.
    silence = ("an extractor that fails on silence", "silence: state 0 holds values")
    return Made((f"hf:{folder}",), kinds, lambda wav: heard_states(encoder, extract, name, wav),
                count(encoder), files=folder,
                broken=silence if name == "speech-to-text" else None)  # fmt: skip
