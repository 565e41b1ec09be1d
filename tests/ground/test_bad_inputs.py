"""Files that are not what they should be: one line, before anything is computed."""

import json
import os
import struct
import time

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import save_file

from bench import cli
from bench.conditions.noise_folders import PACKS, read_clip
from bench.config import UpstreamCard
from bench.errors import InvalidDataError, MissingError, UsageError, explain
from bench.grids.estimate import read_timings
from bench.make.clips import find_clips
from bench.measure.cost import safetensors_bytes
from bench.paths import board_folder, check_file
from bench.records.cost_report import read_cost_report
from bench.records.record import read_record
from bench.run.evaluate import read_predictions, write_predictions
from bench.schema import read_card, read_yaml
from bench.sound.audio import MAX_SECONDS, read_wav
from upstreams.formats.checkpoint import read_checkpoint

TONE = (0.3 * np.sin(np.arange(16_000) / 7)).astype(np.float32)


def a_clip(path):
    return read_clip(path, PACKS["folder"])


def clips_beside(path):
    return find_clips(str(path.parent), path.parent)


SOUND_READERS = [read_wav, a_clip, clips_beside]
READERS = [*SOUND_READERS, read_yaml, read_record, read_predictions, read_checkpoint]


def message(read, path, error):
    """The one line with which a reader refuses a file."""
    begin = time.monotonic()
    with pytest.raises(error) as caught:
        read(path)
    assert time.monotonic() - begin < 5
    line = str(caught.value)
    assert path.name in line and "\n" not in line
    return line


@pytest.mark.parametrize("read", READERS)
def test_a_pipe_or_a_device_is_refused(read, tmp_path):
    os.mkfifo(tmp_path / "a.wav")
    assert "a pipe" in message(read, tmp_path / "a.wav", InvalidDataError)
    (tmp_path / "a.wav").unlink()
    (tmp_path / "a.wav").symlink_to("/dev/zero")
    assert "a device" in message(read, tmp_path / "a.wav", InvalidDataError)


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (".git/annex/objects/xx/SHA256E-s1.wav", "git annex get"),
        ("../.dvc/cache/ab/cd", "dvc pull"),
        ("a.wav", "leads to itself"),
    ],
)
@pytest.mark.parametrize("read", READERS)
def test_a_link_to_nothing_is_to_be_fetched(read, target, words, tmp_path):
    (tmp_path / "a.wav").symlink_to(target)
    if read is not read_predictions:
        assert words in message(read, tmp_path / "a.wav", MissingError)


@pytest.mark.parametrize(
    ("content", "program"),
    [
        ("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git-lfs"),
        ("/annex/objects/SHA256E-s9--0.wav\n", "git-annex"),
    ],
)
@pytest.mark.parametrize("read", READERS)
def test_a_pointer_is_to_be_fetched(read, content, program, tmp_path):
    (tmp_path / "a.wav").write_text(content)
    assert program in message(read, tmp_path / "a.wav", MissingError)


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(InvalidDataError, match="a folder, a file expected"):
        check_file(tmp_path)


def wav_file(path, announced=None, kept=None, subtype="PCM_16"):
    """A WAV file of a second, with another number of bytes in its header, or cut."""
    soundfile.write(path, TONE, 16_000, subtype=subtype)
    data = bytearray(path.read_bytes())
    at = data.index(b"data") + 4
    if announced is not None:
        data[at : at + 4] = struct.pack("<I", announced)
    path.write_bytes(data[:kept])


@pytest.mark.parametrize("read", SOUND_READERS)
@pytest.mark.parametrize(
    "options",
    [{"kept": 5_000}, {"announced": 2**31}, {"announced": 2**32 - 1}, {"announced": 32_002}],
    ids=["cut", "2^31", "written by a pipe", "two bytes"],
)
def test_a_truncated_sound(read, options, tmp_path):
    wav_file(tmp_path / "a.wav", **options)
    line = message(read, tmp_path / "a.wav", InvalidDataError)
    assert "truncated" in line or "expected" in line


def test_a_whole_sound_with_other_chunks_is_read(tmp_path):
    wav_file(tmp_path / "a.wav")
    data = (tmp_path / "a.wav").read_bytes()
    at = data.index(b"data")
    odd = b"note" + struct.pack("<I", 3) + b"abc\0"
    (tmp_path / "b.wav").write_bytes(data[:at] + odd + data[at:] + odd)
    np.testing.assert_array_equal(read_wav(tmp_path / "b.wav"), read_wav(tmp_path / "a.wav"))


@pytest.mark.parametrize("read", SOUND_READERS)
@pytest.mark.parametrize("samples", [0, 2**36 - 1, (MAX_SECONDS + 1) * 16_000])
def test_a_flac_that_claims_absurd_lengths(read, samples, tmp_path):
    soundfile.write(tmp_path / "a.flac", TONE, 16_000)
    data = bytearray((tmp_path / "a.flac").read_bytes())
    data[21] = data[21] & 0xF0 | samples >> 32  # 36 bits in the block STREAMINFO
    data[22:26] = struct.pack(">I", samples & 0xFFFFFFFF)
    (tmp_path / "a.flac").write_bytes(data)
    assert "samples" in message(read, tmp_path / "a.flac", InvalidDataError)


@pytest.mark.parametrize("read", [read_wav, a_clip])
@pytest.mark.parametrize("peak", [54.0, 1e34, -32_768.0])
def test_samples_far_above_full_scale(read, peak, tmp_path):
    soundfile.write(tmp_path / "a.wav", TONE / 0.3 * peak, 16_000, subtype="DOUBLE")
    assert "-1 to 1 expected" in message(read, tmp_path / "a.wav", InvalidDataError)


def test_a_little_overshoot_is_sound(tmp_path):
    soundfile.write(tmp_path / "a.wav", TONE / 0.3 * 1.2, 16_000, subtype="FLOAT")
    assert read_wav(tmp_path / "a.wav").max() > 1.1


@pytest.mark.parametrize("read", [read_wav, clips_beside])
def test_8_bit_sounds_are_refused_before_a_training(read, tmp_path):
    wav_file(tmp_path / "a.wav", subtype="PCM_U8")
    assert "8-bit" in message(read, tmp_path / "a.wav", InvalidDataError)


def test_a_name_that_is_not_utf_8(tmp_path):
    wav_file(tmp_path / "a.wav")
    (tmp_path / "a.wav").rename(os.fsdecode(os.fsencode(tmp_path) + b"/\xe9.wav"))
    with pytest.raises(UnicodeEncodeError) as caught:
        find_clips(str(tmp_path), tmp_path)
    line, code, _ = explain(caught.value)
    assert code == 4 and "not UTF-8, rename it: " in line and "\\udce9.wav" in line


@pytest.mark.parametrize("sign", ["\u2028", "\u2029", "\x85", "\x0b", "\x1c", "\r", "\n", " "])
def test_ids_with_separators_of_lines(sign, tmp_path):
    ids = [f"a{sign}b", "c"]
    write_predictions(tmp_path / "p.jsonl", ids, ["x", f"y{sign}"])
    found, _ = read_predictions(tmp_path / "p.jsonl")
    assert found == {ids[0]: "x", "c": f"y{sign}"}


def test_predictions_that_are_not_there_name_the_way_on(tmp_path):
    with pytest.raises(MissingError, match=r"evaluate again with --force"):
        read_predictions(tmp_path / "p.jsonl")


def test_four_gigabytes_of_no_weights_are_refused_at_once(tmp_path, capsys):
    path = tmp_path / "weights.pt"
    with path.open("wb") as file:
        file.truncate(4 << 30)  # a file with holes: nothing is stored
    begin = time.monotonic()
    assert cli.main(["cost", "lighthubert_small", "--weights", str(path)]) == 4
    assert time.monotonic() - begin < 15
    assert "neither a safetensors nor a torch file" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["a" * 1_000_000, "hf:" + "a" * 1_000_000, "a" * 300])
def test_a_name_as_long_as_a_book(name, capsys):
    assert cli.main(["cost", name]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "upstream" in line


def changed(path, change):
    record = json.loads((board_folder() / "results/open/ge2e/ks-s0.json").read_text())
    change(record)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record))
    return path


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record.update(scores=[]),
        lambda record: record["scores"][0].update(value=1e308),
        lambda record: record["scores"][0].update(low=-1e308),
    ],
)
def test_records_of_absurd_scores(change, tmp_path, capsys):
    path = changed(tmp_path / "results" / "open" / "fbank" / "ks-s0.json", change)
    message(read_record, path, InvalidDataError)
    options = ["--results", str(tmp_path / "results"), "--out", str(tmp_path / "site")]
    assert cli.main(["board", *options]) == 4
    assert "ks-s0.json" in capsys.readouterr().err


def test_a_board_of_nothing(tmp_path):
    options = ["--results", str(tmp_path / "nowhere"), "--out", str(tmp_path / "site")]
    assert cli.main(["board", *options]) == 3


def test_yaml_reads_off_as_false(tmp_path):
    card = "name: mine\ntitle: Mine\nfamily: other\nbuilder: a:b\nargs: {off: 5}\n"
    (tmp_path / "card.yaml").write_text(card)
    with pytest.raises(UsageError, match="YAML reads off as false"):
        read_card(tmp_path / "card.yaml", UpstreamCard)


def test_a_file_of_json_is_not_read_as_yaml(tmp_path):
    (tmp_path / "cost.json").write_text('{"upstream": "fbank", "params": "1"}')
    with pytest.raises(InvalidDataError) as caught:
        read_cost_report(tmp_path / "cost.json")
    assert "key 'params'" in str(caught.value) and "YAML" not in str(caught.value)


@pytest.mark.parametrize("seed", range(20))
def test_the_size_of_a_file_of_weights_without_writing_it(seed, tmp_path):
    draw = np.random.default_rng(seed)
    types = [torch.float32, torch.bfloat16, torch.int8]
    state = {
        f"{'layer' * int(draw.integers(0, 3))}.{n}.é": torch.zeros(
            tuple(draw.integers(0, 30, size=draw.integers(0, 4)).tolist()),
            dtype=types[draw.integers(3)],
        )
        for n in range(draw.integers(1, 40))
    }
    save_file(state, tmp_path / "a.safetensors")
    shapes = {name: (tensor.shape, tensor.dtype) for name, tensor in state.items()}
    assert safetensors_bytes(shapes) == (tmp_path / "a.safetensors").stat().st_size


def test_what_is_no_record_is_passed_over_by_an_estimate_and_named_by_show(tmp_path, capsys):
    folder = tmp_path / "quick/fbank"
    folder.mkdir(parents=True)
    (folder / "deep-s0.json").write_text("[" * 100_000)
    os.mkfifo(folder / "pipe-s0.json")
    (folder / "annex-s0.json").symlink_to("../.git/annex/objects/x")
    assert read_timings("quick", tmp_path) == read_timings("quick", tmp_path / "nothing")
    for name, words in (("pipe-s0.json", "a pipe"), ("annex-s0.json", "git annex get")):
        assert cli.main(["show", str(folder / name)]) in (3, 4)
        assert words in capsys.readouterr().err
