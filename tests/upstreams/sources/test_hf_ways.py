"""Folders of transformers that our encoder does not cover, and what lies beside their weights."""

import json

import pytest
import torch
from models import save_hubert
from references import alone, disturb, noise, relative_error

from bench.errors import InvalidDataError, UsageError
from bench.load.loader import load_upstream
from bench.load.memory import load_model
from bench.sound.torchaudio_guard import import_torchaudio
from upstreams.encoder.encoder import Encoder
from upstreams.sources.hf import FIXED, _section


def states(folder, size=6_001):
    return alone(load_upstream(f"hf:{folder}").upstream, noise(size)).states


def same(folder, model, size=6_001):
    """The states of a folder are those of the model, the last one after the final norm."""
    with torch.no_grad():
        output = model(noise(size)[None], output_hidden_states=True)
    expected = (*output.hidden_states[:-1], output.last_hidden_state)
    actual = states(folder, size)
    assert len(actual) == len(expected)
    for ours, theirs in zip(actual, expected, strict=True):
        assert relative_error(ours, theirs) <= 1e-5
    return True


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hidden_act", "gelu_new"),
        ("feat_extract_activation", "relu"),
        ("layer_norm_eps", 1e-2),
        ("conv_pos_batch_norm", True),
        ("add_adapter", True),
        ("adapter_attn_dim", 8),
    ],
)
@pytest.mark.parametrize("kind", ["Hubert", "Wav2Vec2", "WavLM"])
def test_an_option_that_our_encoder_lacks_is_run_by_transformers(tmp_path, kind, key, value):
    import transformers

    if key not in getattr(transformers, f"{kind}Config")().to_dict():
        pytest.skip(f"{kind} has no {key}")
    model = save_hubert(tmp_path, kind, **{key: value})
    assert key in FIXED and not isinstance(load_upstream(f"hf:{tmp_path}").upstream, Encoder)
    if key == "add_adapter":  # its output has another rate than the states
        return
    assert same(tmp_path, model)


# Keys that act in training, in decoding or in heads, and those of every configuration.
WITHOUT_EFFECT = """
activation_dropout activation_dropout_rate apply_spec_augment architectures attention_dropout
bos_token_id chunk_size_feed_forward classifier_proj_size codevector_dim
contrastive_logits_temperature ctc_loss_reduction ctc_zero_infinity diversity_loss_weight dtype
eos_token_id feat_extract_dropout feat_proj_dropout feat_quantizer_dropout final_dropout
gradient_checkpointing hidden_dropout id2label initializer_range is_encoder_decoder label2id
layerdrop mask_channel_length mask_channel_min_space mask_channel_other mask_channel_prob
mask_channel_selection mask_feature_length mask_feature_min_masks mask_feature_prob
mask_time_length mask_time_min_masks mask_time_min_space mask_time_other mask_time_prob
mask_time_selection model_type num_codevector_groups num_codevectors_per_group num_ctc_classes
num_negatives output_attentions output_hidden_size output_hidden_states pad_token_id
problem_type proj_codevector_dim return_dict tdnn_dilation tdnn_dim tdnn_kernel tokenizer_class
transformers_version use_weighted_layer_sum vocab_size xvector_output_dim _name_or_path
num_adapter_layers adapter_kernel_size adapter_stride
""".split()  # noqa: SIM905
# Of the whole program or of the output's form; ids of text, which other keys must agree with.
UNCHANGED = {"return_dict", "is_encoder_decoder", "output_attentions", "output_hidden_states"}
CHECKED_BY_TRANSFORMERS = {"num_feat_extract_layers"}  # it is the length of `conv_dim`


class Recorded(dict):
    """A mapping that remembers which of its keys were read."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.read = set()

    def __getitem__(self, key):
        self.read.add(key)
        return super().__getitem__(key)

    def get(self, key, default=None):
        self.read.add(key)
        return super().get(key, default)


@pytest.mark.parametrize("kind", ["Hubert", "Wav2Vec2", "WavLM"])
def test_every_key_of_a_configuration_is_read_or_without_effect(kind):
    transformers = pytest.importorskip("transformers")
    config = Recorded(getattr(transformers, f"{kind}Config")().to_dict())
    _section(config, normalize=False)
    others = set(WITHOUT_EFFECT) | set(FIXED) | CHECKED_BY_TRANSFORMERS
    assert set(config) - config.read - others == set()


@pytest.mark.parametrize("kind", ["Hubert", "Wav2Vec2", "WavLM"])
def test_keys_without_effect_have_none(kind, tmp_path):
    """Every number and switch of the list above has another value; states are the same."""
    model = save_hubert(tmp_path / "a", kind)
    config, changes = model.config.to_dict(), {}
    for key in set(WITHOUT_EFFECT) & set(config) - UNCHANGED:
        value = config[key]
        if isinstance(value, bool):
            changes[key] = not value
        elif isinstance(value, int | float):
            changes[key] = type(value)(value + 1) if isinstance(value, int) else value / 2 + 0.01
    assert len(changes) > 20
    other = type(model)(type(model.config)(**(config | changes))).eval()
    other.load_state_dict(model.state_dict(), strict=False)
    wav = noise(3_001)[None]
    with torch.no_grad():
        for one, two in zip(
            model(wav, output_hidden_states=True).hidden_states,
            other(wav, output_hidden_states=True).hidden_states,
            strict=True,
        ):
            assert torch.equal(one, two)


def adapted(folder, task, **changes):
    """Save a model with a PEFT adapter beside it; return the adapted encoder."""
    import_torchaudio()  # peft imports transformers, which imports it
    peft = pytest.importorskip("peft")
    import transformers

    encoder = save_hubert(folder, architectures=["HubertForCTC"] if task else None, **changes)
    model = encoder
    if task:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            model = transformers.HubertForCTC(encoder.config).eval()
        model.hubert.load_state_dict(encoder.state_dict())
        model.save_pretrained(folder)
    config = peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"])
    whole = peft.get_peft_model(model, config)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, parameter in whole.named_parameters():
            if "lora_B" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
    whole.save_pretrained(folder)
    merged = whole.merge_and_unload()
    return merged.hubert if task else merged


@pytest.mark.parametrize("task", [False, True], ids=["encoder", "task model"])
def test_an_adapter_beside_the_weights_is_merged(tmp_path, task):
    before = states_of_base(tmp_path / "base")
    model = adapted(tmp_path / "adapted", task)
    assert same(tmp_path / "adapted", model)
    assert relative_error(states(tmp_path / "adapted")[-1], before[-1]) > 0.05


def states_of_base(folder):
    save_hubert(folder)
    return states(folder)


def test_an_adapter_without_peft_is_refused_in_one_line(tmp_path, monkeypatch):
    import sys

    adapted(tmp_path, task=False)
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(UsageError, match=r"PEFT adapter.*pip install slim-superb\[peft\]"):
        load_upstream(f"hf:{tmp_path}")


def test_an_adapter_that_fits_nothing_is_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    adapted(tmp_path, task=False)
    path = tmp_path / "adapter_model.safetensors"
    save_file({name.replace("layers", "blocks"): x for name, x in load_file(path).items()}, path)
    with pytest.raises(InvalidDataError, match="adapter changes no weight"):
        load_upstream(f"hf:{tmp_path}")


def test_an_adapter_alone_is_refused(tmp_path):
    adapted(tmp_path, task=False)
    (tmp_path / "config.json").unlink()
    with pytest.raises(InvalidDataError, match="adapter without its base model"):
        load_upstream(f"hf:{tmp_path}")


@pytest.mark.parametrize("do_normalize", [False, True])
def test_a_processor_of_transformers_5_is_read(tmp_path, do_normalize):
    model = save_hubert(tmp_path, do_normalize=None)
    extractor = {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "sampling_rate": 16_000}
    nested = {"feature_extractor": extractor | {"do_normalize": do_normalize}}
    (tmp_path / "processor_config.json").write_text(json.dumps(nested))
    wav = noise(6_001)
    heard = torch.nn.functional.layer_norm(wav, wav.shape) if do_normalize else wav
    with torch.no_grad():
        expected = model(heard[None], output_hidden_states=True).hidden_states
    for ours, theirs in zip(states(tmp_path), expected, strict=True):
        assert relative_error(ours, theirs) <= 1e-5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", ["Hubert", "Data2VecAudio"])
def test_half_precision_folders_are_run_in_float32(tmp_path, kind, dtype):
    changes = {"feat_extract_norm": "layer"} if kind == "Data2VecAudio" else {}
    model = save_hubert(tmp_path, kind, **changes).to(dtype)
    model.save_pretrained(tmp_path)
    assert same(tmp_path, model.to(torch.float32))


@pytest.mark.parametrize(
    ("kind", "head"),
    [
        ("Hubert", "ForCTC"),
        ("Wav2Vec2", "ForXVector"),
        ("WavLM", "ForXVector"),
        ("WavLM", "ForAudioFrameClassification"),
        ("Wav2Vec2", "ForPreTraining"),
        ("Hubert", "ForSequenceClassification"),
        ("Wav2Vec2Conformer", "ForXVector"),
    ],
)
def test_heads_of_task_models_are_left_out_by_name(tmp_path, kind, head):
    import transformers

    small = {"tdnn_dim": (16, 16), "tdnn_kernel": (3, 1), "tdnn_dilation": (1, 1)}
    more = small | {"xvector_output_dim": 8} if head == "ForXVector" else {}
    encoder = save_hubert(tmp_path, kind, **more)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        task = disturb(getattr(transformers, f"{kind}{head}")(encoder.config).eval())
    task.save_pretrained(tmp_path)
    assert same(tmp_path, getattr(task, task.base_model_prefix))
    assert load_upstream(f"hf:{tmp_path}").upstream.left_out


def rewrite(folder, change):
    """Write the weights of a folder again, as `change` of their mapping gives them."""
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    tensors = {name: x.contiguous() for name, x in change(load_file(path)).items()}
    save_file(tensors, path, {"format": "pt"})


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_wrappers_of_a_model_that_transformers_runs_are_taken_off(tmp_path, prefix):
    model = disturbed(save_hubert(tmp_path, "Wav2Vec2Conformer"), tmp_path)
    rewrite(tmp_path, lambda tensors: {prefix + name: x for name, x in tensors.items()})
    assert same(tmp_path, model)


def with_loralib(tensors):
    name = "encoder.layers.0.attention.q_proj.lora_A"
    return tensors | {name: torch.ones(2, 32)}


def with_peft(tensors):
    base = {name.replace("q_proj.", "q_proj.base_layer."): x for name, x in tensors.items()}
    return base | {"encoder.layers.0.attention.q_proj.lora_A.default.weight": torch.ones(2, 32)}


@pytest.mark.parametrize(
    ("change", "config", "words"),
    [
        (dict, {"num_hidden_layers": 1}, r"does not run encoder\.layers\.1\."),
        (with_loralib, {}, "does not run .*lora_A"),
        (with_peft, {}, "an adapter that is not merged"),
        (lambda tensors: {f"student.{name}": x for name, x in tensors.items()}, {},
         "its files have student"),
    ],
    ids=["more layers", "lora", "peft", "prefix"],
)  # fmt: skip
@pytest.mark.parametrize("task", [False, True], ids=["encoder", "task model"])
def test_weights_that_transformers_would_drop_or_draw_are_refused(
    tmp_path, change, config, words, task
):
    import_torchaudio()
    import transformers

    model = save_hubert(tmp_path, "Data2VecAudio", feat_extract_norm="layer")
    rewrite(tmp_path, change)
    if task:  # with a head, names have the model's prefix
        head = transformers.Data2VecAudioForCTC(model.config).lm_head.state_dict()
        rewrite(tmp_path, lambda tensors: {f"data2vec_audio.{n}": x for n, x in tensors.items()}
                | {f"lm_head.{name}": x for name, x in head.items()})  # fmt: skip
        words = words.replace("have student", "have data2vec_audio.student")
        words = words.replace("run encoder", "run data2vec_audio.encoder")
    settings = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(settings | config))
    with pytest.raises(InvalidDataError, match=words):
        load_upstream(f"hf:{tmp_path}")


@pytest.mark.parametrize(
    ("setting", "words"),
    [({"do_normalize": "true"}, "found 'true'"), ({"feature_size": 80}, "hears waveforms")],
)
def test_a_file_of_the_extractor_that_fits_no_waveform_is_refused(tmp_path, setting, words):
    save_hubert(tmp_path)
    path = tmp_path / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | setting))
    with pytest.raises(InvalidDataError, match=words):
        load_upstream(f"hf:{tmp_path}")


def test_the_last_state_of_a_conformer_is_after_its_norm(tmp_path):
    assert same(tmp_path, disturbed(save_hubert(tmp_path, "Wav2Vec2Conformer"), tmp_path))


def disturbed(model, folder):
    disturb(model).save_pretrained(folder)
    return model


def test_a_model_in_memory_gives_the_states_of_its_folder(tmp_path):
    """The encoder below a task's head, called as the folder's `do_normalize` says."""
    model = save_hubert(tmp_path, "Hubert")
    with pytest.raises(UsageError, match="normalize_wav=True or False"):
        load_model(model)
    settings = json.loads((tmp_path / "preprocessor_config.json").read_text())
    loaded = load_model(model, normalize_wav=settings["do_normalize"])
    other = load_model(model, normalize_wav=not settings["do_normalize"])
    assert loaded.digest != other.digest
    for ours, theirs in zip(
        alone(loaded.upstream, noise(6_001)).states, states(tmp_path), strict=True
    ):
        assert relative_error(ours, theirs) <= 1e-5
