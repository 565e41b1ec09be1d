"""Tiny models of transformers that are no wav2vec 2.0: their encoders, folders and extractors."""

import torch

from bench.sound.torchaudio_guard import import_torchaudio

WIDTHS = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
}
PAIR = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 1,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "vocab_size": 50,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
}
CONVOLUTIONS = {
    "conv_dim": [24] * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
MOONSHINE = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "encoder_num_hidden_layers": 2,
    "decoder_num_hidden_layers": 1,
    "encoder_num_attention_heads": 4,
    "decoder_num_attention_heads": 4,
    "vocab_size": 50,
}
# Windows of one and of 2.56 s, instead of Whisper's 30 s and AST's 10.24 s.
WINDOWS = {"whisper": {"chunk_length": 1}, "ast": {"max_length": 256}}
# class of the model, class of its configuration, arguments of that, class of its extractor
KINDS = {
    "whisper": (
        "WhisperForConditionalGeneration",
        "WhisperConfig",
        PAIR | {"max_source_positions": 50},
        "WhisperFeatureExtractor",
    ),
    "wav2vec2-bert": (
        "Wav2Vec2BertModel",
        "Wav2Vec2BertConfig",
        WIDTHS,
        "SeamlessM4TFeatureExtractor",
    ),
    "parakeet": (
        "ParakeetEncoder",
        "ParakeetEncoderConfig",
        WIDTHS | {"subsampling_conv_channels": 16},
        "ParakeetFeatureExtractor",
    ),
    "moonshine": (
        "MoonshineForConditionalGeneration",
        "MoonshineConfig",
        MOONSHINE,
        "Wav2Vec2FeatureExtractor",
    ),
    "ast": (
        "ASTForAudioClassification",
        "ASTConfig",
        WIDTHS | {"max_length": 256},
        "ASTFeatureExtractor",
    ),
    "speecht5": (
        "SpeechT5ForSpeechToText",
        "SpeechT5Config",
        PAIR | {"hidden_size": 32} | CONVOLUTIONS,
        "SpeechT5FeatureExtractor",
    ),
    "speech-to-text": (
        "Speech2TextForConditionalGeneration",
        "Speech2TextConfig",
        PAIR,
        "Speech2TextFeatureExtractor",
    ),
}


def save_heard(folder, kind, seed=0):
    """Save a task model with its extractor; return its encoder and the extractor."""
    import_torchaudio()  # speech models of transformers import it
    import transformers

    transformers.utils.logging.disable_progress_bar()
    task, config, shape, extractor = KINDS[kind]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = getattr(transformers, task)(getattr(transformers, config)(**shape)).eval()
    more = {"do_normalize": False} if kind == "moonshine" else WINDOWS.get(kind, {})
    extract = getattr(transformers, extractor)(**more)
    model.save_pretrained(folder)
    extract.save_pretrained(folder)
    if kind == "ast":
        return model.audio_spectrogram_transformer, extract
    return (model if kind in ("wav2vec2-bert", "parakeet") else model.get_encoder()), extract


def heard_states(encoder, extract, kind, wav):
    """The states of the encoder by its own library, of (S,): (1, T, D) each."""
    inputs = extract(wav.numpy(), sampling_rate=16_000, return_tensors="pt")
    if kind != "wav2vec2-bert":
        inputs.pop("attention_mask", None)
    with torch.no_grad():
        output = encoder(**inputs, output_hidden_states=True)
    states = [*output.hidden_states[:-1], output.last_hidden_state]
    if kind == "whisper":
        return [state[:, : -(-len(wav) // 320)] for state in states]
    if kind == "ast":  # 12 bands of 25 times, after two special tokens
        times = -(-len(wav) // 1600)
        return [state[:, 2:].reshape(1, 12, 25, -1).mean(1)[:, :times] for state in states]
    return states
