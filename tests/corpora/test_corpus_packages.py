"""Packages and the prepared folder: wrong ones are told in one line, right ones validate."""

from __future__ import annotations

import gzip
import io
import lzma
import tarfile
from pathlib import Path

import numpy as np
import pytest
from debian_packages import FILES, PACKAGE, pack_deb, pack_tar

from bench.corpora.embedded import games
from bench.corpora.package import clip_sound, corpus_files, corpus_folder, debian
from bench.corpora.package.reader import GameLine
from bench.errors import InvalidDataError, MissingError
from bench.sound.audio import low_pass, samples_digest, write_wav
from bench.sound.manifests import Trial, write_table, write_trials


@pytest.mark.parametrize(
    ("ending", "pack"), [(".xz", lzma.compress), (".gz", gzip.compress), ("", bytes)]
)
def test_reads_only_what_is_wanted(tmp_path, ending, pack) -> None:
    deb = pack_deb(tmp_path / "talkie_1_all.deb", pack(pack_tar(FILES)), ending)
    assert debian.read(PACKAGE, deb) == {"usr/share/voice.dat": b"hello" * 100}
    assert sorted(path.name for path in tmp_path.iterdir()) == [deb.name]


def test_a_hostile_path_is_only_a_name(tmp_path) -> None:
    tar = pack_tar({"../../outside/voice.dat": b"x", "/absolute/voice.dat": b"y"})
    deb = pack_deb(tmp_path / "talkie_1_all.deb", lzma.compress(tar))
    assert set(debian.read(PACKAGE, deb).values()) == {b"x", b"y"}
    assert sorted(path.name for path in tmp_path.iterdir()) == [deb.name]


def test_links_are_not_followed(tmp_path) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        link = tarfile.TarInfo("./usr/voice.dat")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    deb = pack_deb(tmp_path / "talkie_1_all.deb", lzma.compress(stream.getvalue()))
    with pytest.raises(InvalidDataError, match="none of the expected"):
        debian.read(PACKAGE, deb)


def test_limits_hold(tmp_path, monkeypatch) -> None:
    deb = pack_deb(tmp_path / "talkie_1_all.deb", lzma.compress(pack_tar(FILES)))
    monkeypatch.setattr(debian, "MAX_FILE_BYTES", 100)
    with pytest.raises(InvalidDataError, match="too large"):
        debian.read(PACKAGE, deb)
    monkeypatch.undo()
    monkeypatch.setattr(debian, "MAX_TAR_BYTES", 600)
    with pytest.raises(InvalidDataError, match="unpacked"):
        debian.read(PACKAGE, deb)


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "flip", "header"])
def test_a_corrupt_package_is_refused(tmp_path, damage) -> None:
    deb = pack_deb(tmp_path / "talkie_1_all.deb", lzma.compress(pack_tar(FILES)))
    whole = deb.read_bytes()
    middle = len(whole) - 60
    deb.write_bytes(
        {
            "empty": b"",
            "text": b"<html>404</html>",
            "cut": whole[:-40],
            "flip": whole[:middle] + bytes(255 - byte for byte in whole[middle:]),
            "header": whole[:60] + b"?" * 20 + whole[80:],
        }[damage]
    )
    with pytest.raises(InvalidDataError, match=r"talkie_1_all\.deb") as caught:
        debian.read(PACKAGE, deb)
    assert "\n" not in str(caught.value)


def test_another_version_is_used_with_a_warning(tmp_path, caplog) -> None:
    deb = pack_deb(tmp_path / "talkie_2_all.deb", lzma.compress(pack_tar(FILES)))
    assert debian.fetch(PACKAGE, tmp_path, tmp_path) == deb
    assert "not the version" in caplog.text


def test_no_package_and_no_apt(tmp_path, monkeypatch) -> None:
    with pytest.raises(MissingError, match=r"no talkie_\*\.deb"):
        debian.fetch(PACKAGE, tmp_path, tmp_path / "nowhere")
    monkeypatch.setattr(debian.shutil, "which", lambda _: None)
    with pytest.raises(MissingError, match="--deb-dir"):
        debian.fetch(PACKAGE, tmp_path)


def test_apt_that_fails_says_why(tmp_path, monkeypatch) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "apt-get").write_text("#!/bin/sh\necho 'E: Unable to locate package' >&2\nexit 100\n")
    (tools / "apt-get").chmod(0o755)
    monkeypatch.setenv("PATH", str(tools), prepend=":")
    with pytest.raises(MissingError, match="Unable to locate package"):
        debian.fetch(PACKAGE, tmp_path / "packages")
    assert list((tmp_path / "packages").iterdir()) == []


def test_apt_that_works(tmp_path, monkeypatch) -> None:
    deb = pack_deb(tmp_path / "talkie_1_all.deb", lzma.compress(pack_tar(FILES)))
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "apt-get").write_text(f"#!/bin/sh\ncp '{deb}' .\n")
    (tools / "apt-get").chmod(0o755)
    monkeypatch.setenv("PATH", str(tools), prepend=":")
    found = debian.fetch(PACKAGE, tmp_path / "packages")
    assert found == tmp_path / "packages" / deb.name
    assert found.read_bytes() == deb.read_bytes()


def test_packages_without_the_containers_are_refused(tmp_path) -> None:
    for package in games.PACKAGES:
        tar = pack_tar({f"./usr/share/doc/{package.name}/copyright": b"free"})
        pack_deb(tmp_path / f"{package.name}_1_all.deb", lzma.compress(tar))
    with pytest.raises(MissingError, match=r"queen\.1c"):
        games.prepare(tmp_path / "home", deb_dir=tmp_path)
    assert not games.status(tmp_path / "home").prepared


def test_no_space_is_told_first(tmp_path, monkeypatch) -> None:
    full = type("Usage", (), {"free": 1_000_000})
    monkeypatch.setattr(corpus_folder.shutil, "disk_usage", lambda _: full)
    with pytest.raises(MissingError, match="no space"):
        games.prepare(tmp_path, deb_dir=tmp_path)


def test_sound_of_a_clip(tmp_path) -> None:
    rng = np.random.default_rng(0)
    audio = rng.integers(100, 156, 11_025, dtype=np.uint8).tobytes()
    line = GameLine("drascula-0", "drascula", "DR-HACKER", "Hi.", audio, "u8")
    sound = clip_sound.make(line, tmp_path)
    assert sound is not None
    assert abs(sound.num_samples - 16_000) <= 1
    assert not sound.silent
    assert clip_sound.make(line, tmp_path) == sound
    wav = clip_sound.read_wav(tmp_path / clip_sound.audio_path(line.id))
    spectrum = np.abs(np.fft.rfft(wav * np.hanning(wav.size))) ** 2
    above = spectrum[int(len(spectrum) * 4_150 / 8_000) :].sum() / spectrum.sum()
    assert above < 1e-6
    broken = GameLine("queen-X1", "queen", "JOE", "Hi.", b"not an MP3", "mp3")
    assert clip_sound.make(broken, tmp_path) is None
    assert low_pass(wav, edge_hz=4_000.0).shape == wav.shape


@pytest.fixture
def corpus(tmp_path) -> Path:
    """A corpus of four clips, one table with trials and a notice."""
    rows = []
    for index in range(4):
        wav = (np.random.default_rng(index).standard_normal(8_000) * 0.1).astype(np.float32)
        write_wav(tmp_path / f"audio/c{index}.wav", wav)
        rows.append(
            {
                "id": f"c{index}",
                "path": f"audio/c{index}.wav",
                "start": 0,
                "num_samples": 8_000,
                "target": "A",
                "speaker": "A",
                "source": "s",
                "text": "",
                "key": samples_digest(wav),
            }
        )
    write_table(tmp_path, "open/asv/test", rows)
    write_trials(tmp_path, "open/asv/test", [Trial(1, "c0", "c1")])
    (tmp_path / "notices").mkdir()
    (tmp_path / "notices" / "NOTICE.txt").write_text("free")
    corpus_files.write_digests(tmp_path)
    return tmp_path


def test_a_whole_corpus_has_no_problems(corpus) -> None:
    assert games.validate(corpus) == []


def test_validate_finds_each_kind_of_damage(corpus) -> None:
    audio = corpus / "audio"
    (audio / "c0.wav").unlink()
    (audio / "c1.wav").write_bytes((audio / "c1.wav").read_bytes()[:-500])
    write_wav(audio / "c2.wav", np.zeros(8_000, dtype=np.float32))
    (audio / "c4.wav").write_bytes((audio / "c3.wav").read_bytes())
    (corpus / "notices" / "NOTICE.txt").write_text("changed")
    assert games.validate(corpus) == [
        "audio/c0.wav: missing",
        "audio/c4.wav: not a file of this corpus",
        "audio/c1.wav: truncated (15544 of 16044 bytes)",
        "audio/c2.wav: silent",
        "notices/NOTICE.txt: altered",
        "tables/open/asv/test: c1 ends beyond its file",
    ]


def test_validate_finds_duplicates_and_alterations(corpus) -> None:
    audio = corpus / "audio"
    (audio / "c1.wav").write_bytes((audio / "c0.wav").read_bytes())
    write_wav(audio / "c2.wav", np.full(8_000, 0.1, dtype=np.float32))
    (audio / "c3.wav").write_bytes(b"")
    assert games.validate(corpus) == [
        "audio/c1.wav: duplicate of audio/c0.wav",
        "audio/c1.wav: altered",
        "audio/c2.wav: altered",
        "audio/c3.wav: truncated (empty)",
    ]


def test_validate_finds_broken_tables(corpus) -> None:
    write_trials(corpus, "open/asv/test", [Trial(1, "c0", "nobody")])
    found = games.validate(corpus)
    assert "tables/open/asv/test: a trial names no utterance" in found
    (corpus / "tables/open/asv/test.parquet").write_bytes(b"PAR1")
    assert any("not a Parquet table" in line for line in games.validate(corpus))


@pytest.mark.parametrize("content", [None, "", "nonsense\n", "0" * 64 + "  ../../outside\n"])
def test_validate_needs_its_list(corpus, content) -> None:
    if content is None:
        (corpus / corpus_files.DIGESTS).unlink()
    else:
        (corpus / corpus_files.DIGESTS).write_text(content)
    found = games.validate(corpus)
    assert len(found) == 1
    assert "prepare the corpus again" in found[0]


def test_status_of_nothing(tmp_path) -> None:
    found = games.status(tmp_path)
    assert (found.prepared, found.num_utterances, found.problems) == (False, 0, ())
