"""Noise: of packages that are made here, and of folders in the shape of published corpora."""

from __future__ import annotations

import io
import lzma
import os

import numpy as np
import pytest
import soundfile
from debian_packages import pack_deb, pack_tar

from bench.conditions.noise_folders import PACKS, open_pack
from bench.conditions.noise_sources import check_source, find_noise, source_names
from bench.corpora.noise import packaged
from bench.errors import InvalidDataError, MissingError, UsageError
from bench.load import file_digests
from bench.sound.audio import read_wav

RATE = 16_000


def sound(seconds=2.0, *, rate=RATE, channels=1, seed=0, level=0.1):
    count = int(seconds * rate)
    wav = level * np.random.default_rng(seed).standard_normal((count, channels))
    return wav.astype(np.float32)


def as_wav(wav, rate=RATE):
    stream = io.BytesIO()
    soundfile.write(stream, wav, rate, format="WAV", subtype="PCM_16")
    return stream.getvalue()


def write(path, wav, rate=RATE):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wav, rate, subtype="PCM_16")


@pytest.fixture
def debs(tmp_path, monkeypatch):
    """A source `environment-seen` whose package holds clips of all sorts."""
    silence = np.zeros((RATE * 2, 1), dtype=np.float32)
    files = {
        "./usr/share/games/lincity-ng/sounds/A 1.wav": as_wav(sound(2.0, rate=11_025), 11_025),
        "./usr/share/games/lincity-ng/sounds/B.wav": as_wav(sound(2.0, channels=2, seed=1)),
        "./usr/share/games/lincity-ng/sounds/again.wav": as_wav(sound(2.0, channels=2, seed=1)),
        "./usr/share/games/lincity-ng/sounds/click.wav": as_wav(sound(0.2)),
        "./usr/share/games/lincity-ng/sounds/silent.wav": as_wav(silence),
        "./usr/share/games/lincity-ng/sounds/text.wav": b"<html>",
        "./usr/share/games/lincity-ng/images/C.wav": as_wav(sound(3.0)),
    }
    folder = tmp_path / "debs"
    folder.mkdir()
    pack_deb(folder / "lincity-ng-data_1_all.deb", lzma.compress(pack_tar(files)))
    return folder


def test_clips_of_a_package_become_a_source(debs, tmp_path):
    home = tmp_path / "home"
    packaged.prepare(home, deb_dir=debs, sources=["environment-seen"])
    found = packaged.opened(home, "environment-seen")
    assert [path.name for path in found.files] == ["0000-A_1.wav", "0001-B.wav"]
    assert found.seconds == pytest.approx(4.0, abs=0.1)
    assert read_wav(found.files[0]).size == pytest.approx(2 * RATE, abs=20)
    assert packaged.validate(packaged.folder(home)) == []
    status = packaged.status(home)
    assert status.num_utterances == 2
    assert not status.prepared  # five sources more
    write(found.files[0], sound(2.0, seed=7))
    assert packaged.validate(packaged.folder(home)) == ["environment-seen/0000-A_1.wav: altered"]


def test_a_source_is_made_once_and_made_again_when_a_clip_is_gone(debs, tmp_path):
    home = tmp_path / "home"
    first = find_noise("environment-seen", home=home, deb_dir=debs)
    assert find_noise("environment-seen", home=home, deb_dir=tmp_path).sha256 == first.sha256
    next(packaged.folder(home).glob("*/*.wav")).unlink()
    with pytest.raises(MissingError, match=r"no lincity-ng-data_\*\.deb"):
        find_noise("environment-seen", home=home, deb_dir=tmp_path)
    assert find_noise("environment-seen", home=home, deb_dir=debs).sha256 == first.sha256


def test_a_package_without_sound_is_refused(tmp_path):
    tar = pack_tar({"./usr/share/games/lincity-ng/sounds/text.wav": b"<html>"})
    pack_deb(tmp_path / "lincity-ng-data_1_all.deb", lzma.compress(tar))
    with pytest.raises(InvalidDataError, match="hold no usable sound"):
        find_noise("environment-seen", home=tmp_path / "home", deb_dir=tmp_path)


def test_g722_is_read():
    from bench.distortions._codec import through_packets

    tone = (0.3 * np.sin(np.arange(RATE) * 2 * np.pi * 500 / RATE)).astype(np.float32)
    import av

    encoder = av.CodecContext.create("g722", "w")
    encoder.sample_rate, encoder.layout, encoder.format = RATE, "mono", "s16"
    encoder.open()
    blocks = (tone * 32_767).astype(np.int16).reshape(-1, 320)
    packets = []
    for block in blocks:
        frame = av.AudioFrame.from_ndarray(block[None], format="s16", layout="mono")
        frame.sample_rate = RATE
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    found = packaged.decode(b"".join(bytes(packet) for packet in packets), "tone.g722")
    expected = through_packets(tone, name="g722", decoder="g722")
    assert abs(found.size - tone.size) <= 640
    count = min(found.size, expected.size)
    assert np.corrcoef(found[:count], expected[:count])[0, 1] > 0.99
    assert packaged.decode(b"", "empty.g722") is None


def test_seen_and_unseen_come_of_different_packages():
    sides = {
        side: {
            package.name
            for name, source in packaged.SOURCES.items()
            if name.endswith(f"-{side}")
            for package in source.packages
        }
        for side in ("seen", "unseen")
    }
    assert not sides["seen"] & sides["unseen"]
    assert len(packaged.SOURCES) == 6


OFFICIAL = {
    "musan": {"musan/music/a/1.wav": {}, "musan/noise/b/2.wav": {}, "musan/speech/c/3.wav": {}},
    "musan-speech": {"musan/speech/c/3.wav": {}},
    "wham-tr": {"wham_noise/tr/1.wav": {"channels": 2}},
    "wham-cv": {"wham_noise/cv/1.wav": {"channels": 2}},
    "wham-tt": {"wham_noise/tt/1.wav": {"channels": 2}},
    "fsd50k-eval": {"FSD50K.eval_audio/1.wav": {"rate": 44_100}},
    "dns-noise": {"noise_fullband/a/1.wav": {"rate": 48_000}},
    "dns-rirs": {"impulse_responses/SLR26/a/1.wav": {"rate": 48_000, "channels": 4}},
    "rirs-real": {"RIRS_NOISES/real_rirs_isotropic_noises/1.wav": {"channels": 8}},
    "rirs-simulated": {"RIRS_NOISES/simulated_rirs/small/1.wav": {}},
    "folder": {"folder/mine/1.wav": {}},
}


@pytest.mark.parametrize("name", PACKS)
def test_official_folders_are_read(name, tmp_path):
    for path, shape in OFFICIAL[name].items():
        write(tmp_path / path, sound(1.0, **shape), shape.get("rate", RATE))
    noise = find_noise(name, home=tmp_path, noise_dir=tmp_path)
    assert len(noise.groups) == len(OFFICIAL[name])
    for group in noise.groups:
        wav = group[0].load()
        assert wav.size == pytest.approx(RATE, abs=2)
        assert wav.dtype == np.float32
    before = noise.sha256
    write(tmp_path / "more" / next(iter(OFFICIAL[name])), sound(1.0))
    first = tmp_path / next(iter(OFFICIAL[name]))
    shape = next(iter(OFFICIAL[name].values()))
    write(first.with_name("extra.wav"), sound(0.5, **shape), shape.get("rate", RATE))
    assert open_pack(name, tmp_path, tmp_path).sha256 != before


def test_another_sound_of_the_same_name_and_size_is_another_noise(tmp_path):
    """Also with the time stamp of the file before it."""
    file, home = tmp_path / "folder" / "1.wav", tmp_path / "home"
    write(file, sound(1.0, seed=1))
    before, size = find_noise("folder", home=home, noise_dir=tmp_path), file.stat().st_size
    first = before.groups[0][0].load()
    times = (file.stat().st_atime_ns, file.stat().st_mtime_ns)
    write(file, sound(1.0, seed=2))
    os.utime(file, ns=times)
    assert file.stat().st_size == size
    after = find_noise("folder", home=home, noise_dir=tmp_path)
    assert after.sha256 != before.sha256
    assert not np.array_equal(after.groups[0][0].load(), first)
    write(file, sound(1.0, seed=1))
    assert find_noise("folder", home=home, noise_dir=tmp_path).sha256 == before.sha256


def test_a_settled_file_is_read_once(tmp_path, monkeypatch):
    file, home = tmp_path / "folder" / "1.wav", tmp_path / "home"
    write(file, sound(1.0))
    monkeypatch.setattr(file_digests, "UNSETTLED_NS", -(10**18))
    first = open_pack("folder", home, tmp_path).sha256
    with (home / file_digests.CACHE).open("a") as cache:
        cache.write('["a damaged line\n')
    with monkeypatch.context() as patch:
        patch.setattr(file_digests, "file_sha256", lambda _: pytest.fail("read again"))
        assert open_pack("folder", home, tmp_path).sha256 == first
    write(file, sound(1.0, seed=5))
    assert open_pack("folder", home, tmp_path).sha256 != first


def test_a_sound_without_a_rate_is_refused_before_anything_is_scored(tmp_path):
    file = tmp_path / "folder" / "1.wav"
    write(file, sound(1.0))
    content = bytearray(file.read_bytes())
    content[24:28] = bytes(4)  # the rate in the header
    file.write_bytes(content)
    with pytest.raises(InvalidDataError, match=r"1\.wav: not readable as sound"):
        find_noise("folder", home=tmp_path, noise_dir=tmp_path)


@pytest.mark.parametrize(
    ("wav", "rate", "message"),
    [
        (sound(0.009), RATE, r"1\.wav: noise of 9\.0 ms, at least 10 ms"),
        (np.zeros((RATE, 1)), RATE, r"1\.wav: silent"),
    ],
)
def test_faulty_noise_is_told_in_one_line(wav, rate, message, tmp_path):
    write(tmp_path / "folder" / "1.wav", wav, rate)
    noise = find_noise("folder", home=tmp_path, noise_dir=tmp_path)
    with pytest.raises(InvalidDataError, match=message) as caught:
        noise.draw(np.random.default_rng(0)).load()
    assert "\n" not in str(caught.value)


def test_files_that_are_no_sound_and_folders_that_are_not_there(tmp_path):
    with pytest.raises(MissingError, match=r"--noise-dir .*nowhere: no such folder"):
        find_noise("musan", home=tmp_path, noise_dir=tmp_path / "nowhere")
    with pytest.raises(MissingError, match="give the folder that holds musan"):
        find_noise("musan", home=tmp_path)
    with pytest.raises(MissingError, match=r"no musan/music/\*\*/\*\.wav in"):
        find_noise("musan", home=tmp_path, noise_dir=tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "1.wav").write_bytes(b"RIFF?")
    with pytest.raises(InvalidDataError, match="not readable as sound"):
        find_noise("folder", home=tmp_path, noise_dir=tmp_path)


def test_unknown_sources_are_refused():
    with pytest.raises(UsageError, match="unknown noise source 'musam': did you mean 'musan'"):
        check_source("environment-seen+musam")
    with pytest.raises(UsageError, match="unknown noise source"):
        packaged.prepare(None, sources=["sea"])


def test_a_union_has_every_kind_and_noise_is_limited_to_the_band(tmp_path):
    for path in ("musan/music/a.wav", "musan/noise/b.wav", "musan/speech/c.wav"):
        write(tmp_path / path, sound(1.0, seed=len(path)))
    write(tmp_path / "folder" / "1.wav", sound(1.0, seed=9))
    union = find_noise("musan+folder", home=tmp_path, noise_dir=tmp_path, band_hz=4_000.0)
    assert len(union.groups) == 4
    drawn = {union.draw(np.random.default_rng(seed)).name for seed in range(60)}
    assert len(drawn) == 4
    wav = union.groups[0][0].load()
    spectrum = np.abs(np.fft.rfft(wav * np.hanning(wav.size))) ** 2
    assert spectrum[4_100:].sum() < 1e-6 * spectrum.sum()
    whole = find_noise("musan+folder", home=tmp_path, noise_dir=tmp_path)
    assert whole.sha256 == union.sha256
    assert not wav.flags.writeable


def test_names_are_unique():
    assert len(source_names()) == len(PACKS) + len(packaged.SOURCES)


def test_prompts_of_a_package_become_a_table(tmp_path, monkeypatch):
    import gzip

    from bench.corpora.embedded import prompts
    from bench.sound.manifests import read_table

    script = (
        "; a comment\nhello-there: Hello there, D.N.A.\none: Word.\nbeep: [a beep, no words]\n"
        "dir/press-two: Please press 2 now.\nlong-prompt: Please hold the line."
    )
    text = {"./usr/share/doc/x/core-sounds-en.txt.gz": gzip.compress(script.encode())}
    names = ("hello-there", "one", "beep", "dir/press-two", "long-prompt", "no-words-known")
    sounds = {f"./usr/x/en_US_f_Allison/{name}.g722": name.encode() for name in names}
    sounds["./usr/x/en_US_f_Allison/silence/1.g722"] = b"silence"
    for package, files in (
        ("asterisk-core-sounds-en", text),
        ("asterisk-core-sounds-en-g722", sounds),
    ):
        pack_deb(tmp_path / f"{package}_1_all.deb", lzma.compress(pack_tar(files)))
    decoded = {name.encode(): sound(1.5, seed=i)[:, 0] for i, name in enumerate(names)}
    monkeypatch.setattr(prompts, "decode", lambda content, name: decoded[content])
    home = tmp_path / "home"
    here = prompts.prepare(home, deb_dir=tmp_path)
    rows = read_table(here, "open/asr/test")
    assert {row.id: row.target for row in rows} == {
        "prompt-hello-there": "HELLO THERE D N A",
        "prompt-long-prompt": "PLEASE HOLD THE LINE",
    }
    assert [row.id for row in read_table(here, "quick/asr/test")] == [row.id for row in rows]
    assert prompts.validate(here) == []
    assert prompts.status(home).prepared
    assert prompts.prepare(home, deb_dir=None) == here
    write(rows[0].path, sound(1.5, seed=44))
    assert prompts.validate(here) == ["audio/prompt-hello-there.wav: altered"]
