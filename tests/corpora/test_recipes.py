"""Recipes: what changes their digest, and that two of them share one home without harm."""

from __future__ import annotations

import io
import lzma
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from debian_packages import pack_deb, pack_tar

from bench.cli import main
from bench.corpora.embedded import games, prompts, voices
from bench.corpora.games import table_files
from bench.corpora.noise import packaged
from bench.corpora.package import corpus_files, corpus_folder, debian, recipe
from bench.sound.audio import write_wav
from bench.sound.manifests import read_table

ROOT = Path(__file__).resolve().parents[2]
RULE = (
    '"""Some rule."""\n\nLIMIT = 3\n\n\ndef rule(value):\n    """Apply it."""\n    return LIMIT\n'
)


@pytest.fixture
def digest(tmp_path, monkeypatch):
    """Return the digest of a module that imports one with the given text."""
    monkeypatch.setattr(recipe, "ROOT", tmp_path)
    (tmp_path / "bench").mkdir()

    def code_digest(text: str) -> str:
        recipe.code_digest.cache_clear()
        (tmp_path / "bench/corpus.py").write_text("from bench import rules\n")
        (tmp_path / "bench/rules.py").write_text(text)
        return recipe.code_digest("bench.corpus")

    yield code_digest
    recipe.code_digest.cache_clear()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Some rule.", "Another sentence."),
        ("Apply it.", "Return the limit."),
        ("LIMIT = 3", "LIMIT = 3  # measured"),
        ("\n\n\n", "\n\n\n\n# A heading\n\n"),
        ("return LIMIT", "return (LIMIT)"),
    ],
)
def test_wording_keeps_the_digest(digest, old, new) -> None:
    assert old in RULE
    assert digest(RULE.replace(old, new)) == digest(RULE)


@pytest.mark.parametrize(
    ("old", "new"),
    [("LIMIT = 3", "LIMIT = 4"), ("return LIMIT", "return -LIMIT"), ("3", "None"), ("3", "'3'")],
)
def test_meaning_changes_the_digest(digest, old, new) -> None:
    assert old in RULE
    assert digest(RULE.replace(old, new)) != digest(RULE)


def test_data_files_change_the_digest(tmp_path) -> None:
    (tmp_path / "one").write_bytes(b"1")
    (tmp_path / "two").write_bytes(b"2")
    module = "bench.corpora.package.text"
    one, two = (recipe.code_digest(module, tmp_path / name) for name in ("one", "two"))
    assert len({one, two, recipe.code_digest(module)}) == 3


@pytest.mark.parametrize(
    ("module", "rules"),
    [
        (games, {"games.table_files", "games.queen_reader", "package.clip_sound", "package.text"}),
        (voices, {"package.clip_sound", "package.rows"}),
        (prompts, {"noise.packaged", "package.text", "package.clip_sound"}),
        (packaged, {"package.clip_sound"}),
    ],
)
def test_a_recipe_is_the_modules_that_decide(module, rules) -> None:
    names = set(recipe._trees(module.__name__))
    assert {f"bench.corpora.{rule}" for rule in rules} | {module.__name__} <= names
    assert not names & recipe.NO_CONTENT
    assert all(name.startswith(("bench.corpora.", "bench.sound.")) for name in names)


def test_the_committed_tables_are_part_of_the_recipe() -> None:
    names = {path.name for path in games.CORPUS.data}
    assert {"clips.tsv.gz", "trials.tsv.gz", "asr.tsv.gz", "unlabelled.tsv.gz"} <= names
    assert games.CORPUS.data == table_files.files()


def test_modules_without_content_exist() -> None:
    assert all((ROOT / name.replace(".", "/")).with_suffix(".py").is_file()
               for name in recipe.NO_CONTENT)  # fmt: skip


# A checkout prepares a small corpus, then reads it until it is stopped.
CHECKOUT = """
import sys
from pathlib import Path
from bench.corpora.embedded import voices
from bench.corpora.package.debian import Package
from bench.sound.manifests import read_table

folder = Path(sys.argv[1])
voices.PACKAGES = (Package("klettres-data", "0" * 64, r"[.]ogg$"),)
voices.MIN_UTTERANCES = 1
corpus = voices.prepare(folder / "home", deb_dir=folder)
print(corpus.name, read_table(corpus, "open/asv/train")[0].num_samples)
assert voices.validate(corpus) == []
assert voices.prepare(folder / "home", deb_dir=folder) == corpus
"""


def test_two_checkouts_share_a_home(tmp_path, monkeypatch) -> None:
    """This process reads its tables over and over while another recipe prepares its own."""
    rng = np.random.default_rng(0)
    files = {}
    for number in range(7):
        stream = io.BytesIO()
        soundfile.write(stream, rng.normal(0, 0.1, 9_600), 16_000, format="WAV")
        files[f"./usr/share/klettres/de/alpha/{number}.ogg"] = stream.getvalue()
    pack_deb(tmp_path / "klettres-data_1_all.deb", lzma.compress(pack_tar(files)))
    other = tmp_path / "checkout"
    shutil.copytree(ROOT / "bench", other / "bench")
    rules = other / "bench/corpora/embedded/voices.py"
    text = rules.read_text()
    assert "MAX_SECONDS = 6.0" in text
    rules.write_text(text.replace("MAX_SECONDS = 6.0", "MAX_SECONDS = 1.6"))

    package = debian.Package("klettres-data", "0" * 64, r"[.]ogg$")
    monkeypatch.setattr(voices, "PACKAGES", (package,))
    monkeypatch.setattr(voices, "MIN_UTTERANCES", 1)
    corpus = voices.prepare(tmp_path / "home", deb_dir=tmp_path)
    rows = read_table(corpus, "open/asv/train")
    assert rows[0].num_samples == 28_800
    writer = subprocess.Popen(
        [sys.executable, "-c", CHECKOUT, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": str(other)},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    )
    while writer.poll() is None:
        assert read_table(corpus, "open/asv/train") == rows
        assert voices.validate(corpus) == []
        time.sleep(0.02)
    assert writer.returncode == 0
    name, num_samples = writer.stdout.read().split()
    assert name != corpus.name and num_samples == "25600"
    assert voices.prepare(tmp_path / "home", deb_dir=tmp_path) == corpus
    assert {path.name for path in (tmp_path / "home/corpora").iterdir()} == {name, corpus.name}


def make_folder(home: Path, name: str, sounds: str) -> Path:
    folder = home / "corpora" / name
    for number in range(3):
        rng = np.random.default_rng(number)
        write_wav(folder / f"audio/c{number}.wav", rng.normal(0, 0.1, 4_000).astype(np.float32))
    corpus_files.write_digests(folder)
    (folder / corpus_folder.MARK).write_text(f'{{"sounds": "{sounds}"}}')
    return folder


def test_recipes_share_undamaged_clips_of_the_same_sounds(tmp_path) -> None:
    same = make_folder(tmp_path, "games-v1-000000000000", "same")
    make_folder(tmp_path, "games-v1-111111111111", "other")
    (same / "audio/c1.wav").write_bytes(b"damaged")
    target = tmp_path / "corpora/games-v1-222222222222"
    wanted = {"audio/c0.wav", "audio/c1.wav", "audio/c3.wav"}
    corpus_folder.share_clips(target, "other sounds still", wanted)
    assert not target.exists()
    corpus_folder.share_clips(target, "same", wanted)
    assert [path.name for path in (target / "audio").iterdir()] == ["c0.wav"]
    assert (target / "audio/c0.wav").samefile(same / "audio/c0.wav")
    shutil.rmtree(same)
    assert soundfile.info(target / "audio/c0.wav").frames == 4_000


def test_status_lists_folders_of_other_recipes(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("SLIM_SUPERB_HOME", str(tmp_path))
    present = games.folder(tmp_path).name
    names = ["games-v1", "games-v1-000000000000", present, "games-v10", "games-v1-notes"]
    for name in names:
        make_folder(tmp_path, name, "")
    main(["data", "status", "--track", "quick", "--task", "ks"])
    lines = [line for line in capsys.readouterr().out.splitlines() if "another recipe" in line]
    assert [line.rpartition("/")[2] for line in lines] == names[:2]
    assert all("0.02 MB" in line for line in lines)
    assert {path.name for path in (tmp_path / "corpora").iterdir()} == set(names)
