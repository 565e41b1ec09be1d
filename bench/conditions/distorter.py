"""The sound of an utterance under a condition: the same for everyone.

The whole recording that an utterance lies in is distorted, then the utterance is cut out of it: a
keyword has the reverberation of the word before it, and the silence between two words has the noise
level of its line, not one of its own. All randomness comes from (condition, utterance id).

What comes out is rounded to 16 bits, as every recording of the corpora is: what `listen` writes is
what upstreams hear, and the last bit does not depend on a machine's arithmetic, but for rare ties.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from bench.api import Utterance
from bench.conditions.catalogue import Condition, Step, catalogue, effect_module, parameters
from bench.conditions.choice import noise_sources
from bench.conditions.noise_sources import find_noise
from bench.distortions._noise import Noise
from bench.errors import UsageError, UserError
from bench.seeds import derive_seed
from bench.sound.audio import Wav, check_wav, low_pass
from bench.sound.sox import whole_sound

FULL_SCALE = 32_767 / 32_768


@dataclass(frozen=True, eq=False)
class Distorter:
    """A condition with everything it needs at hand.

    Attributes:
        condition: with at least one step.
        noises: sources by name.
        band_hz: of the corpus; None where it has the whole band.
    """

    condition: Condition
    noises: Mapping[str, Noise]
    band_hz: float | None

    def __call__(self, item: Utterance) -> Wav:
        """The samples (S,) of an utterance under the condition, in [-1, 1), of 16 bits.

        Raises:
            UserError: an unreadable recording, or a noise source that fails; names the utterance.
        """
        clean = whole_sound(item)
        try:
            whole = self.distort(clean, item.id)
        except UserError as error:
            raise type(error)(f"condition {self.condition.name}, {item.id}: {error}") from error
        scale = whole.size / clean.size  # speed changes how long things are
        start, count = round(item.start * scale), max(1, round(item.num_samples * scale))
        return check_wav(whole[start : start + count], f"{item.id} under {self.condition.name}")

    def distort(self, wav: Wav, identifier: str) -> Wav:
        """A whole recording (S,) under the condition; `wav` is left alone.

        Args:
            wav: 16 kHz mono.
            identifier: of the utterance; it decides all that is drawn.
        """
        keeps_band = True
        done = wav.copy()
        for position, step in enumerate(self.condition.steps):
            module = effect_module(step.effect)
            seed = derive_seed("condition", self.condition.base, identifier, position)
            rng = np.random.default_rng(seed)
            done.setflags(write=False)
            done = module.distort(done, rng, **self._params(step, rng))
            keeps_band = keeps_band and module.KEEPS_BAND
        if not keeps_band and self.band_hz is not None:
            done = low_pass(done, edge_hz=self.band_hz)[: done.size]
        return to_16_bits(fit(done))

    def _params(self, step: Step, rng: np.random.Generator) -> dict[str, Any]:
        """The parameters of a step for one utterance: draws drawn, names of noises looked up."""
        known = parameters(step.effect)
        found: dict[str, Any] = {}
        for name, value in step.params:
            drawn = draw(value, rng)
            found[name] = self.noises[drawn] if known[name].annotation is Noise else drawn
        if "band_hz" in known and self.band_hz is not None:
            found.setdefault("band_hz", self.band_hz)
        return found

    def sha256(self) -> str:
        """Identity of the condition and of its noise: what a record keeps."""
        noises = {name: noise.sha256 for name, noise in sorted(self.noises.items())}
        content = [self.condition.sha256(), noises, self.band_hz]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def renamed(self, item: Utterance) -> Utterance:
        """The utterance with the key of its distorted sound, for the feature store.

        The key also holds the versions of the libraries that make the sound.
        """
        content = [*self._sound, item.id, item.key]
        key = hashlib.sha256(json.dumps(content).encode()).hexdigest()
        return replace(item, key=key)

    @cached_property
    def _sound(self) -> tuple[str, dict[str, str]]:
        """What all keys hold: the condition with its noise, and versions of libraries."""
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
    """Bring together what a condition needs; noise is fetched when it is not here.

    Args:
        condition: with at least one step.
        corpus: of the utterances; gives the band.
        home: folder of everything that can be made again.
        deb_dir: folder of Debian packages, without apt.
        noise_dir: folder of noise corpora.

    Raises:
        UsageError: another test set, not a distortion.
        MissingError, InvalidDataError: a source of noise cannot be had.
    """
    if not condition.steps:
        raise UsageError(f"condition {condition.name}: another test set, nothing is distorted")
    band_hz = catalogue().bands_hz.get(corpus)
    noises = {
        name: find_noise(name, home=home, deb_dir=deb_dir, noise_dir=noise_dir, band_hz=band_hz)
        for name in noise_sources([condition])
    }
    return Distorter(condition, noises, band_hz)


def draw(value: Any, rng: np.random.Generator) -> Any:
    """A parameter as written, or drawn: from a grid, an interval or a list."""
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
    """Turn (S,) down as a whole where it exceeds full scale: nothing clips unless it was asked."""
    peak = float(np.max(np.abs(wav)))
    return wav if peak <= FULL_SCALE else (wav * np.float32(FULL_SCALE / peak)).astype(np.float32)


def to_16_bits(wav: Wav) -> Wav:
    """Round (S,) to the values that 16 bits hold."""
    rounded = np.round(wav.astype(np.float64) * 32_768.0)
    done: Wav = (np.clip(rounded, -32_768, 32_767) / 32_768.0).astype(np.float32)
    return done


@lru_cache(maxsize=64)
def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "not installed"
