"""The sound of an utterance under a condition, the same on every machine.

The whole recording that an utterance lies in is distorted, then the utterance is cut out of it: a
keyword has the reverberation of the word before it, and the silence between two words has the noise
level of its line. All randomness comes from the condition, the utterance id and the position of the
step.

The result is rounded to 16 bits, as every recording of the corpora is. So upstreams hear what
`listen` writes, and the last bit does not depend on a machine's arithmetic, except for rare ties.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from bench.api import Utterance
from bench.conditions.catalogue import Condition, catalogue, noise_sources
from bench.conditions.noise_sources import find_noise
from bench.distortions._effects import EffectStep, effect_module, parameters
from bench.distortions._noise import Noise
from bench.errors import UsageError, UserError
from bench.identity import distorted_key, distortion_digest
from bench.registry import OWN_TRACK, corpus_module
from bench.seeds import derive_seed
from bench.sound.audio import Wav, check_wav, low_pass
from bench.sound.sox import whole_sound

FULL_SCALE = 32_767 / 32_768


@dataclass(frozen=True, eq=False)
class Distorter:
    """Distorts utterances by the steps of one condition.

    Attributes:
        condition: with at least one step.
        noises: sources by name.
        band_hz: upper edge of the corpus's band; None for the whole band.
    """

    condition: Condition
    noises: Mapping[str, Noise]
    band_hz: float | None

    def __call__(self, item: Utterance) -> Wav:
        """Return the samples (S,) of an utterance under the condition, in [-1, 1), of 16 bits.

        Raises:
            UserError: an unreadable recording or noise source; the message names the utterance.
        """
        clean = whole_sound(item)
        try:
            whole = self.distort(clean, item.id)
        except UserError as error:
            raise type(error)(f"condition {self.condition.name}, {item.id}: {error}") from error
        scale = whole.size / clean.size  # `speed` changes the length
        start, count = round(item.start * scale), max(1, round(item.num_samples * scale))
        return check_wav(whole[start : start + count], f"{item.id} under {self.condition.name}")

    def distort(self, wav: Wav, identifier: str) -> Wav:
        """Return a whole recording (S,) under the condition; `wav` is not changed.

        Args:
            wav: 16 kHz mono.
            identifier: of the utterance; it seeds all random draws.
        """
        keeps_band = True
        output = wav.copy()
        for position, step in enumerate(self.condition.steps):
            module = effect_module(step.effect)
            seed = derive_seed("condition", self.condition.base, identifier, position)
            rng = np.random.default_rng(seed)
            output.setflags(write=False)
            output = module.distort(output, rng, **self._params(step, rng))
            keeps_band = keeps_band and module.KEEPS_BAND
        if not keeps_band and self.band_hz is not None:
            output = low_pass(output, edge_hz=self.band_hz)[: output.size]
        return to_16_bits(fit(output))

    def _params(self, step: EffectStep, rng: np.random.Generator) -> dict[str, Any]:
        """Return the parameters of a step for one utterance: drawn values, loaded noises."""
        types = parameters(step.effect)
        values: dict[str, Any] = {}
        for name, value in step.params:
            drawn = draw(value, rng)
            values[name] = self.noises[drawn] if types[name].annotation is Noise else drawn
        if "band_hz" in types and self.band_hz is not None:
            values.setdefault("band_hz", self.band_hz)
        return values

    def sha256(self) -> str:
        """Return the identity of the condition and of its noise."""
        noises = {name: noise.sha256 for name, noise in self.noises.items()}
        return distortion_digest(self.condition.sha256(), noises, self.band_hz)

    def renamed(self, item: Utterance) -> Utterance:
        """Return the utterance with the key of its distorted sound, for the feature store.

        The key also covers the versions of the libraries that compute the sound.
        """
        return replace(item, key=distorted_key(*self._sound, item.id, item.key))

    @cached_property
    def _sound(self) -> tuple[str, dict[str, str]]:
        """The part that all keys share: the condition with its noise, and versions of libraries."""
        names = {name for s in self.condition.steps for name in effect_module(s.effect).LIBRARIES}
        return self.sha256(), {name: _version(name) for name in sorted(names)}


def make_distorter(
    condition: Condition,
    corpus: str,
    *,
    home: Path,
    deb_dir: Path | None = None,
    noise_dir: Path | None = None,
) -> Distorter:
    """Return the distorter of a condition; missing noise is fetched.

    Args:
        condition: with at least one step.
        corpus: of the utterances; gives the band.
        home: folder of everything that can be computed again.
        deb_dir: folder of Debian packages, without apt.
        noise_dir: folder of noise corpora.

    Raises:
        UsageError: the condition is another test set, not a distortion.
        MissingError: a source of noise is not available.
        InvalidDataError: a source of noise is damaged.
    """
    if not condition.steps:
        raise UsageError(f"condition {condition.name}: another test set, nothing is distorted")
    band_hz = catalogue().bands_hz.get(corpus)
    if corpus.startswith(f"{OWN_TRACK}/"):
        band_hz = corpus_module(corpus).band_hz(home)
    noises = {
        name: find_noise(name, home=home, deb_dir=deb_dir, noise_dir=noise_dir, band_hz=band_hz)
        for name in noise_sources([condition])
    }
    return Distorter(condition, noises, band_hz)


def draw(value: Any, rng: np.random.Generator) -> Any:
    """Return a parameter as written, or draw it from a grid, an interval or a list."""
    if not isinstance(value, dict):
        return value
    if "one_of" in value:
        return value["one_of"][int(rng.integers(len(value["one_of"])))]
    low, high, step = value["from"], value["to"], value.get("step")
    if step is None:
        return float(rng.uniform(low, high))
    count = round((high - low) / step) + 1
    return round(low + step * int(rng.integers(count)), 9)


def fit(wav: Wav) -> Wav:
    """Scale samples (S,) down where they exceed full scale, so that only an effect clips."""
    peak = float(np.max(np.abs(wav)))
    return wav if peak <= FULL_SCALE else (wav * np.float32(FULL_SCALE / peak)).astype(np.float32)


def to_16_bits(wav: Wav) -> Wav:
    """Round samples (S,) to the values that 16 bits hold."""
    rounded = np.round(wav.astype(np.float64) * 32_768.0)
    output: Wav = (np.clip(rounded, -32_768, 32_767) / 32_768.0).astype(np.float32)
    return output


@lru_cache(maxsize=64)
def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "not installed"
