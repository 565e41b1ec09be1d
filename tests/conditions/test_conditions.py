"""Test that sounds under conditions are reproducible, and that wrong input gives one clear line."""

from __future__ import annotations

import hashlib
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context

import numpy as np
import pytest

from bench import paths
from bench.conditions import catalogue as module
from bench.conditions.catalogue import catalogue, condition, expand, noise_sources
from bench.conditions.distorter import Distorter, make_distorter
from bench.conditions.noise_folders import PACKS
from bench.conditions.report import warn_unused_noise
from bench.corpora.embedded import games
from bench.distortions._noise import Noise, NoiseClip
from bench.errors import InvalidDataError, UsageError
from bench.features.passes import clean_sound
from bench.registry import task_card
from bench.sound.audio import read_wav
from bench.sound.manifests import read_table

ASR, SID, ASV = (task_card(name, "quick") for name in ("asr", "sid", "asv"))
CHAINS = ("white-5db", "reverb-0.2s", "pitch-200cents", "packet-loss-0.2", "opus-8kbps")


@pytest.fixture(scope="module")
def items():
    """Sixteen utterances of the corpus, windows of longer recordings among them."""
    corpus = games.prepare(paths.home())
    return read_table(corpus, "quick/asr/test")[:8] + read_table(corpus, "quick/ks/test")[:8]


def distorter(name):
    return make_distorter(condition(name), "games", home=paths.home())


def digest(wav):
    return hashlib.sha256(wav.tobytes()).hexdigest()


def distorted(task):
    """Return the digest of one utterance under one condition; runs in another process."""
    name, item = task
    return digest(distorter(name)(item))


def test_every_condition_is_built_and_checked():
    entries = catalogue()
    assert len(entries.sets["distorted-seen"]) == 15
    assert len(entries.sets["distorted-unseen"]) == 7
    assert set(entries.sets["ladders"]) <= set(entries.conditions)
    for name, item in entries.conditions.items():
        assert item.name == name
        assert item.about
        kinds = [bool(item.steps), item.table is not None, item.corpus is not None]
        assert sum(kinds) == 1
        sources = {part for text in noise_sources([item]) for part in text.split("+")}
        assert item.from_folder or not sources & set(PACKS)
    rungs = [entries.conditions[name].severity for name in entries.sets["ladder-white"]]
    assert rungs == [20, 10, 5, 0]
    identities = {item.sha256() for item in entries.conditions.values()}
    assert len(identities) == len(entries.conditions)


def test_seen_and_unseen_share_no_noise_and_no_room():
    sides = {}
    for side in ("seen", "unseen"):
        members = [condition(name) for name in catalogue().sets[f"distorted-{side}"]]
        sources = {part for text in noise_sources(members) for part in text.split("+")}
        assert all(source.endswith(f"-{side}") for source in sources)
        steps = [step for item in members for step in item.steps if step.effect == "reverb"]
        assert {dict(step.params)["rooms"] for step in steps} == {side}
        sides[side] = sources
    assert not sides["seen"] & sides["unseen"]


def test_sets_and_names_expand_to_the_conditions_that_a_task_allows(capsys):
    assert [item.name for item in expand("ladder-white,white-5db", ASR)] == list(
        catalogue().sets["ladder-white"]
    )
    assert "drascula" in {item.name for item in expand("all", ASR)}
    everything = {item.name for item in expand("all", SID)}
    assert "drascula" not in everything
    assert not any(name.startswith("official") for name in everything)
    with_folder = expand("all", SID, has_noise_dir=True)
    assert any(item.name.startswith("official") for item in with_folder)
    warn_unused_noise(with_folder)
    expand("ladder-white", SID, has_noise_dir=True)  # such as a cell of a grid: no warning
    assert not capsys.readouterr().err
    warn_unused_noise(expand("ladder-white", SID, has_noise_dir=True))
    assert "none of these conditions takes its noise from a folder" in capsys.readouterr().err
    (only,) = expand("gsm@test-only", ASV)
    assert only.test_only
    assert only.base == "gsm"


@pytest.mark.parametrize(
    ("card", "names", "message"),
    [
        (ASR, "wite-5db", r"unknown condition 'wite-5db': did you mean 'white-5db'"),
        (ASR, "distorted-sen", r"did you mean 'distorted-seen'"),
        (ASR, "", r"unknown condition ''"),
        (SID, "drascula", r"'drascula': task sid on track quick has no table 'ood'"),
        (SID, "prompts", r"'prompts': task sid on track quick: corpus 'prompts' serves only asr"),
        (SID, "ood", r"condition 'ood': task sid"),
        (ASR, "gsm@test-only", r"has no trials, so no test-only condition"),
        (ASV, "drascula@test-only", r"drascula is another test set"),
    ],
)
def test_a_condition_that_a_task_refuses_gives_one_line(card, names, message):
    with pytest.raises(UsageError, match=message) as caught:
        expand(names, card)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("snr_db: 10}]", "snr_db: loud}]", "snr_db: expected a finite number, found 'loud'"),
        ("snr_db: 10}]", "snr_db: .nan}]", "snr_db: expected a finite number, found nan"),
        ("snr_db: 10}]", "snr_db: {from: 1}}]", "snr_db: expected"),
        ("snr_db: 10}]", "snr_dB: 10}]", "unknown parameter 'snr_dB': did you mean 'snr_db'"),
        ("snr_db: 10}]", "noise: folder}]", "not valid YAML|lacks the parameter"),
        ("noise: folder,", "noise: foldr,", "unknown noise source 'foldr': did you mean 'folder'"),
        ("[{effect: gsm}]", "[{effect: gms}]", "unknown effect 'gms': did you mean 'gsm'"),
        ("[{effect: telephone}]", "[]", "exactly one of"),
        ("members: [drascula,", "members: [dracula,", "no condition 'dracula'"),
        ("version: 1", "version: one", "version"),
        ("  codecs:", "  white-5db:", "is a set and a condition"),
        ("name: white-{}db", "name: white-{:>9999999999}db", "expected one {} in it"),
        ("name: white-{}db", "name: white-{}}db", "expected one {} in it"),
    ],
)
def test_a_broken_file_gives_one_line(tmp_path, old, new, message):
    text = module.FILE.read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "conditions.yaml"
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises((UsageError, InvalidDataError), match=message) as caught:
        catalogue(path)
    assert "\n" not in str(caught.value)
    assert "conditions.yaml" in str(caught.value)


@pytest.mark.corpus
def test_order_batches_processes_and_workers_change_no_sample(items):
    tasks = [(name, item) for name in CHAINS for item in (*items[:2], *items[-2:])]
    alone = [distorted(task) for task in tasks]
    backwards = [distorted(task) for task in reversed(tasks)][::-1]
    assert alone == backwards
    one = {name: distorter(name) for name in CHAINS}
    assert alone == [digest(one[name](item)) for name, item in tasks]
    # A new process, with another hash seed.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert alone == list(pool.map(distorted, tasks, chunksize=5))
    assert len(set(alone)) == len(alone)


@pytest.mark.corpus
def test_the_sound_is_of_the_utterance_and_its_condition(items):
    item = items[0]
    other = replace(item, id="another")
    white, ten = distorter("white-5db"), distorter("white-10db")
    assert digest(white(item)) != digest(white(other))
    keys = {white.renamed(item).key, white.renamed(other).key, ten.renamed(item).key, item.key}
    assert len(keys) == 4
    assert white.renamed(item).key == distorter("white-5db").renamed(item).key


@pytest.mark.corpus
def test_the_ratio_holds_in_what_upstreams_hear(items):
    """Over the recording, after rounding to 16 bits, with noise in the band of the corpus."""
    white = distorter("white-5db")
    for item in items[:4]:
        quiet = (0.2 * read_wav(item.path)).astype(np.float32)
        noise = white.distort(quiet, item.id).astype(np.float64) - quiet
        snr_db = 10 * np.log10(np.mean(np.square(quiet, dtype=np.float64)) / np.mean(noise**2))
        assert abs(snr_db - 5) < 0.01
        spectrum = np.abs(np.fft.rfft(noise)) ** 2
        hertz = np.fft.rfftfreq(noise.size, 1 / 16_000)
        assert spectrum[hertz > 4_050].sum() < 1e-4 * spectrum.sum()


@pytest.mark.corpus
def test_a_window_has_the_distortion_of_its_recording(items):
    """A keyword keeps its place and has the noise of its whole line."""
    window = next(item for item in items if item.start > 0)
    whole = replace(window, start=0, num_samples=read_wav(window.path).size)
    distort = distorter("white-5db")
    cut = distort(whole)[window.start : window.start + window.num_samples]
    np.testing.assert_array_equal(distort(window), cut)
    faster = distorter("speed-1.25")(window)
    assert abs(faster.size - window.num_samples / 1.25) <= 1


@pytest.mark.corpus
@pytest.mark.parametrize("name", ["white-0db", "reverb-0.2s", "packet-loss-0.4", "mulaw"])
def test_nothing_clips_except_by_the_effect_clip(items, name):
    for item in items[:4]:
        loud = read_wav(item.path)
        loud = (loud / np.abs(loud).max()).astype(np.float32)
        out = distorter(name).distort(loud, item.id)
        assert np.abs(out).max() <= 1.0
        assert (np.abs(out) >= 32_766 / 32_768).sum() <= 2


@pytest.mark.corpus
def test_an_error_names_condition_and_utterance(items):
    silent = np.zeros(32_000, dtype=np.float32)
    hush = Noise("environment-seen", ((NoiseClip("hush.wav", lambda: silent),),), "0")
    broken = Distorter(condition("environment-5db"), {"environment-seen": hush}, 4_000.0)
    with pytest.raises(InvalidDataError, match=rf"environment-5db, {items[0].id}: .*silent"):
        broken(items[0])
    assert clean_sound(items[0]).size == items[0].num_samples


@pytest.mark.corpus
def test_every_condition_gives_a_sound(items):
    """One line is distorted, with reversed speech in place of noise that must be fetched."""
    wav = read_wav(items[1].path)
    backwards = wav[::-1].copy()
    noise = Noise("backwards", ((NoiseClip("backwards", lambda: backwards),),), "0")
    for item in catalogue().conditions.values():
        if item.steps:
            noises = dict.fromkeys(noise_sources([item]), noise)
            out = Distorter(item, noises, 4_000.0).distort(wav, "line")
            assert np.isfinite(out).all(), item.name
            assert 0 < np.abs(out).max() <= 1, item.name
            assert out.size == wav.size or any(step.effect == "speed" for step in item.steps)


@pytest.mark.parametrize(
    ("names", "message"),
    [("drascula", "has no table 'ood'"), ("gms", "did you mean 'gsm'")],
)
def test_eval_refuses_a_condition_before_it_trains(names, message, capsys, monkeypatch):
    from bench import cli

    monkeypatch.setattr("bench.run.run.run", lambda *_, **__: pytest.fail("trained"))
    assert cli.main(["eval", "fbank", "sid", "--conditions", names]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
