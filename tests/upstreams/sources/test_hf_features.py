"""Models of transformers that are no wav2vec 2.0: through their own feature extractors."""

import pytest
import torch
from heard import KINDS, heard_states, save_heard
from references import alone, noise, relative_error

from bench.errors import InvalidDataError, UsageError
from bench.load.loader import load_upstream
from bench.measure.check import check
from bench.measure.cost import measure


@pytest.mark.parametrize("kind", KINDS)
def test_states_and_counts_are_those_of_the_library(tmp_path, kind):
    encoder, extract = save_heard(tmp_path, kind)
    upstream = load_upstream(f"hf:{tmp_path}").upstream
    wav = noise(12_001)
    expected = heard_states(encoder, extract, kind, wav)
    actual = alone(upstream, wav).states
    assert len(actual) == len(expected) == upstream.num_layers
    assert max(map(relative_error, actual, expected)) <= 1e-5
    assert measure(upstream, seconds=1.0).params == sum(p.numel() for p in encoder.parameters())
    if kind in ("whisper", "ast"):  # those with a window
        assert [item.name for item in check(upstream) if not item.ok] == []


def test_sound_longer_than_the_window_passes_in_windows(tmp_path):
    encoder, extract = save_heard(tmp_path, "whisper")
    wav = noise(24_321)
    actual = alone(load_upstream(f"hf:{tmp_path}").upstream, wav).states
    parts = [heard_states(encoder, extract, "whisper", part) for part in wav.split(16_000)]
    for state, *expected in zip(actual, *parts, strict=True):
        assert relative_error(state, torch.cat(expected, dim=1)) <= 1e-5


def test_what_is_not_of_the_encoder_is_left_out_by_name(tmp_path):
    save_heard(tmp_path, "whisper")
    assert load_upstream(f"hf:{tmp_path}").upstream.left_out == ("decoder",)


def test_a_folder_without_its_extractor_is_refused(tmp_path):
    save_heard(tmp_path, "whisper")
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(UsageError, match=r"no preprocessor_config.json.*feature extractor there"):
        load_upstream(f"hf:{tmp_path}")


def test_an_extractor_of_another_rate_is_refused(tmp_path):
    save_heard(tmp_path, "wav2vec2-bert")
    path = tmp_path / "preprocessor_config.json"
    path.write_text(path.read_text().replace("16000", "8000"))
    with pytest.raises(InvalidDataError, match="sampling_rate 8000, 16000 expected"):
        load_upstream(f"hf:{tmp_path}")


def test_a_model_of_text_is_refused(tmp_path):
    import transformers

    shape = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "vocab_size": 9}
    config = transformers.BertConfig(**shape, intermediate_size=8)
    transformers.BertModel(config).save_pretrained(tmp_path)
    with pytest.raises(InvalidDataError, match="BertModel takes 'input_ids'; only models of sound"):
        load_upstream(f"hf:{tmp_path}")
