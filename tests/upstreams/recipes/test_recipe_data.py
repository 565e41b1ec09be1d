"""What recipes are trained on: folders, patterns of folders, and sound as evaluation hears it."""

from dataclasses import replace

import numpy as np
import official_trees
import pytest
import soundfile
from recipe_toys import ingredients
from toys import write_tone

from bench.errors import InvalidDataError, MissingError, UsageError
from bench.make.clips import find_clips, read_part
from bench.make.recipe import head_maker, recipe_card, task_and_data, with_settings
from bench.sound.audio import read_wav
from bench.sound.sox import whole_sound
from upstreams.recipes.distillation import distil


@pytest.fixture
def corpus(tmp_path):
    """A corpus in its official layout: training, dev and test folders side by side."""
    root = tmp_path / "LibriSpeech"
    for index, split in enumerate(
        ("train-clean-100", "train-other-500", "dev-clean", "Test.other")
    ):
        (root / split / "19").mkdir(parents=True)
        write_tone(root / split / "19", f"19-{index}", 300 + 100 * index, 8_000, index)
    return root


@pytest.mark.parametrize("left", ["dev-clean", "Test.other"])
def test_a_folder_with_a_dev_or_test_set_is_refused(corpus, tmp_path, left):
    with pytest.raises(UsageError, match=r"holds '\S+', which is not training data.*train\*"):
        find_clips(str(corpus), tmp_path)
    for path in sorted(corpus.iterdir()):
        if path.name in {"dev-clean", "Test.other"} - {left}:
            path.rename(tmp_path / path.name)
    with pytest.raises(UsageError, match=f"holds {left!r}"):
        find_clips(str(corpus), tmp_path)


def test_a_pattern_names_the_folders(corpus, tmp_path, monkeypatch):
    clips = find_clips(str(corpus / "train-*"), tmp_path)
    ids = [clip.id for clip in clips]
    assert ids == ["train-clean-100/19/19-0.wav", "train-other-500/19/19-1.wav"]
    monkeypatch.chdir(tmp_path)
    assert find_clips("LibriSpeech/train-*", tmp_path)[0].key == clips[0].key
    with pytest.raises(MissingError, match="no audio files"):
        find_clips("LibriSpeech/nothing-*", tmp_path)


@pytest.mark.parametrize("place", [100, 30_000])
def test_clips_of_one_name_and_size_are_told_apart_by_their_sound(tmp_path, place):
    sound = np.zeros(100_000, dtype=np.float32)
    keys = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        sound[place] += 0.5
        soundfile.write(tmp_path / name / "a.wav", sound, 16_000)
        keys += [clip.key for clip in find_clips(str(tmp_path / name), tmp_path)]
    assert keys[0] != keys[1]


def test_a_clip_with_an_effect_is_trained_on_as_it_is_evaluated(tmp_path):
    (clip,) = ingredients(tmp_path, {}, count=1).clips
    quiet = replace(clip, effect="gain")
    part = read_part(quiet, 320, 1_600).numpy()
    assert np.array_equal(part, whole_sound(quiet)[320:1_920])
    assert np.abs(part).max() < 0.75 * np.abs(read_wav(clip.path)[320:1_920]).max()


def test_sections_of_a_recipe(tmp_path):
    assert distil.DistillationOptions(student=None).student == {}
    with pytest.raises(UsageError, match=r"key 'student': .*\(found '\[1\]'\)"):
        distil.make(ingredients(tmp_path, {"student": [1]}))
    with pytest.raises(UsageError, match="needs an encoder as its teacher"):
        distil.make(ingredients(tmp_path, {"student": None}))


def test_every_file_that_is_left_out_is_counted_and_named(tmp_path, capsys):
    """All endings of libsndfile are read, links once; hidden and other files are named."""
    folder, other = tmp_path / "sounds", tmp_path / "elsewhere"
    (folder / ".cache").mkdir(parents=True)
    other.mkdir()
    sound = 0.1 * np.sin(np.arange(16_000))
    formats = {"wav": None, "flac": None, "ogg": None, "mp3": None, "aiff": None, "au": None}
    formats |= {"opus": "OGG", "sph": "NIST", "caf": None, "w64": None}
    for ending, kind in formats.items():
        subtype = "OPUS" if ending == "opus" else None
        name = folder / f"{ending}.{ending.upper() if ending == 'wav' else ending}"
        soundfile.write(name, sound, 16_000, format=kind, subtype=subtype)
    soundfile.write(other / "linked.wav", sound[:8_000], 16_000)
    (folder / "there").symlink_to(other)
    (other / "back").symlink_to(folder)  # a loop
    (folder / "again.wav").symlink_to(folder / "flac.flac")
    (folder / ".cache" / "a.wav").write_bytes(b"")
    (folder / "._b.wav").write_bytes(b"")
    (folder / "c.m4a").write_bytes(b"")
    (folder / "d.txt").write_text("")
    clips = find_clips(str(folder), tmp_path, tmp_path)
    names = {clip.id for clip in clips}
    assert len(clips) == len(formats) + 1 and "there/linked.wav" in names
    assert all(len(read_part(clip, 0, 400)) == 400 for clip in clips)
    lines = (tmp_path / "left-out.txt").read_text().splitlines()
    assert {line.removeprefix(f"{folder}/") for line in lines} == {
        ".cache/a.wav (hidden)", "._b.wav (hidden)", "c.m4a (no audio)", "d.txt (no audio)",
        "flac.flac (twice)",
    }  # fmt: skip
    assert f"{folder}: 5 files are left out: " in capsys.readouterr().err


def test_a_task_of_official_corpora_takes_their_folder(tmp_path, capsys):
    card = recipe_card("hj_wav2vec2_asr_macs")
    task, (name,) = task_and_data(card, str(tmp_path))
    assert (task.track, task.name, name) == ("superb", "asr", "librispeech:asr/train")
    official_trees.librispeech(tmp_path / "corpora")
    clips = find_clips(name, tmp_path / "home", corpora=tmp_path / "corpora")
    assert "the official corpus 28,539: the training has the present" in capsys.readouterr().err
    assert len(clips) == 12 and clips[0].target == "THE CAT'S MAT NUMBER A"
    assert [clip.key for clip in find_clips(name, tmp_path / "home")] == [c.key for c in clips]
    head = head_maker(task, clips)(8, 320)
    assert len(head.vocabulary) == 32
    with pytest.raises(InvalidDataError, match="no target for the task superb/asr"):
        head_maker(task, [replace(clips[0], target=None)])
    with pytest.raises(UsageError, match="embedded corpus games"):
        find_clips("games:asr/train", tmp_path, corpora=tmp_path)


def test_keys_of_a_recipe_can_be_set():
    card = with_settings(recipe_card("dphubert"), {"config.sparsity": 0.1, "training.clip": 1.0})
    assert card.config["sparsity"] == 0.1 and card.training["clip"] == 1.0
    assert recipe_card("dphubert").config["sparsity"] == 0.75
    for path in ("name", "teacher.x", "config.gates.x"):
        with pytest.raises(UsageError, match=f"--set {path}: expected"):
            with_settings(card, {path: 1})
