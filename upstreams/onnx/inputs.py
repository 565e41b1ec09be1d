"""What the inputs of an ONNX graph take: sound, or features of it, and what people add to it.

    sound       float32 or float16; (S,), (B, S) or (B, 1, S) for waveforms, (B, bins, T) or
                (B, T, bins) for the features of a feature extractor of transformers
    mask        ones; its name contains `mask`
    length      the number of samples (or frames of features); its name contains `len`

A length that is fixed in the file makes a window (`upstreams.sources.windows`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.api import SAMPLE_RATE_HZ
from bench.errors import InvalidDataError, UsageError, did_you_mean
from bench.sound.torchaudio_guard import import_torchaudio
from upstreams.formats.hf_folder import folder_extractor, normalizes

FLOATS = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
NUMBERS = {
    **FLOATS,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(bool)": np.bool_,
}
# Feature extractors of transformers by the names of `@features=NAME`.
EXTRACTORS = {
    "whisper": "WhisperFeatureExtractor",
    "seamless_m4t": "SeamlessM4TFeatureExtractor",
    "parakeet": "ParakeetFeatureExtractor",
    "speech_to_text": "Speech2TextFeatureExtractor",
    "ast": "ASTFeatureExtractor",
}
MEL_HOP_SAMPLES = 160  # 10 ms
EXTRACTOR_FILE = "preprocessor_config.json"
EXPECTED = (
    "expected one input of sound in float32 or float16, waveforms (B, S), (B, 1, S) or (S,), or "
    "features (B, bins, T), B being 1 or any number"
)
Array = npt.NDArray[Any]


class OnnxInputs:
    """The inputs of a graph.

    Attributes:
        window: samples that the graph takes at once; 0 for any number.
        is_flat: the sound has no batch axis.
        normalize: waveforms are scaled to zero mean and unit variance.
        file: of the feature extractor beside the graph, or None.
    """

    def __init__(
        self, inputs: list[Any], path: Path, features: str | None, normalize: bool | None
    ) -> None:
        """Tell the inputs apart.

        Args:
            inputs: of a session of onnxruntime.
            path: of the file.
            features: a name in `EXTRACTORS`, or None.
            normalize: `normalize_wav` of the card, or None.

        Raises:
            UsageError: no such features, or a graph that needs them or takes none.
            InvalidDataError: inputs of other kinds, or an invalid file of an extractor.
        """
        self._path = path
        self._masks = [item for item in inputs if "mask" in item.name.lower()]
        self._sizes = [item for item in inputs if "len" in item.name.lower()]
        beside = {item.name for item in (*self._masks, *self._sizes)}
        sounds = [item for item in inputs if item.name not in beside]
        shown = ", ".join(f"{item.name} {item.type} {item.shape}" for item in inputs)
        are_numbers = all(item.type in NUMBERS for item in inputs)
        if len(sounds) != 1 or sounds[0].type not in FLOATS or not are_numbers:
            raise InvalidDataError(f"{path}: {EXPECTED}, found {shown}")
        self._sound, shape = sounds[0], sounds[0].shape
        if len(shape) not in (1, 2, 3) or (
            len(shape) > 1 and shape[0] not in (1, None) and not isinstance(shape[0], str)
        ):
            raise InvalidDataError(f"{path}: {EXPECTED}, found {shown}")
        self.is_flat, self._is_channel = len(shape) == 1, len(shape) == 3 and shape[1] == 1
        self.has_extractor = len(shape) == 3 and not self._is_channel
        if features is not None and not self.has_extractor:
            raise UsageError(
                f"{path}: takes waveforms ({shown}): features={features} is for others"
            )
        file = path.parent / EXTRACTOR_FILE
        self.file = file if file.is_file() and features is None else None
        self._extract: Any = None
        self.normalize = False
        if self.has_extractor:
            self._extract = self._extractor(features, shown)
        elif self.file is not None:
            self.normalize = normalizes(path.parent, normalize)
        else:
            self.normalize = bool(normalize)
        self.window = self._window()

    def _window(self) -> int:
        """Return the samples that the graph takes at once; 0 for any number."""
        length = self._sound.shape[self._time_axis]
        if not isinstance(length, int):
            return 0
        return length * (MEL_HOP_SAMPLES if self.has_extractor else 1)

    @property
    def _time_axis(self) -> int:
        """The axis of time: the last one, or the second of features (B, T, bins)."""
        is_last = not self.has_extractor or type(self._extract).__name__ == EXTRACTORS["whisper"]
        return -1 if is_last else 1

    def feed(self, wav: Array) -> dict[str, Array]:
        """Return all inputs for a sound (S,).

        Raises:
            InvalidDataError: the extractor gives features of another shape than the graph takes.
        """
        sound = self._features(wav) if self.has_extractor else wav[None]
        sound = sound[None] if self._is_channel else sound
        size = sound.shape[self._time_axis]
        sound = (sound[0] if self.is_flat else sound).astype(NUMBERS[self._sound.type])
        feed = {self._sound.name: sound}
        for item in self._masks:
            shape = (1, size)[-len(item.shape) :]
            feed[item.name] = np.ones(shape, dtype=NUMBERS[item.type])
        for item in self._sizes:
            feed[item.name] = np.full((1,) * len(item.shape), size, dtype=NUMBERS[item.type])
        return feed

    def _features(self, wav: Array) -> Array:
        """Return the features (1, ...) of a sound."""
        padding = {} if self.window else {"padding": "longest"}
        given = self._extract(wav, sampling_rate=SAMPLE_RATE_HZ, return_tensors="np", **padding)
        features = np.asarray(next(iter(given.values())))
        expected = self._sound.shape
        sizes = zip(expected[1:], features.shape[1:], strict=False)
        if any(isinstance(size, int) and size != given_size for size, given_size in sizes):
            raise InvalidDataError(
                f"{self._path}: takes features {expected}, its extractor gives {features.shape}"
            )
        return features

    def _extractor(self, name: str | None, shown: str) -> Any:
        """Build the feature extractor: of the file beside the graph, or of a name.

        For Whisper's, the file gives the bins and the window.

        Raises:
            UsageError: no such extractor, none at all, or transformers is not installed.
            InvalidDataError: the file beside the graph is not valid.
        """
        if name is None and self.file is None:
            raise UsageError(
                f"{self._path}: takes features ({shown}): put their {EXTRACTOR_FILE} beside it, or "
                f"name their extractor, such as @features=whisper (known: {', '.join(EXTRACTORS)})"
            )
        import_torchaudio()
        try:
            import transformers
        except ImportError as error:
            raise UsageError("features need 'pip install slim-superb[hf]'") from error
        if name is None:
            return folder_extractor(self._path.parent)
        if name not in EXTRACTORS:
            raise UsageError(f"features {name!r}: {did_you_mean(name, EXTRACTORS)}")
        kind = getattr(transformers, EXTRACTORS[name])
        bins, frames = self._sound.shape[1:]
        more = {"feature_size": bins} if isinstance(bins, int) else {}
        if isinstance(frames, int):
            more["chunk_length"] = max(1, frames * MEL_HOP_SAMPLES // SAMPLE_RATE_HZ)
        return kind(**more) if name == "whisper" else kind()
