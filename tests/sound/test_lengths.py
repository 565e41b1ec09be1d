"""Truncated files of every format that a user may have."""

import numpy as np
import pytest
import soundfile

from bench.errors import InvalidDataError
from bench.sound.audio import open_sound
from bench.sound.lengths import check_length, check_read

FORMATS = ("AIFF", "AU", "W64", "RF64", "NIST", "SVX", "OGG", "MP3", "FLAC", "CAF", "WAV")
RATE_HZ = 16_000


def read_whole(path):
    """Read a file as the readers of users' data do; return the number of samples."""
    with open_sound(path) as file:
        check_length(file, path)
        wav = file.read(dtype="float32")
        check_read(wav, file.frames, file)
    return wav.size


@pytest.mark.parametrize("name", FORMATS)
def test_a_truncated_file_is_refused_and_a_whole_one_is_read(name, tmp_path):
    wav = 0.1 * np.random.default_rng(0).normal(size=2 * RATE_HZ)
    path = tmp_path / f"sound.{name.lower()}"
    soundfile.write(path, wav, RATE_HZ, format=name)
    assert abs(read_whole(path) - wav.size) < 0.1 * RATE_HZ
    content = path.read_bytes()
    for share in (0.3, 0.9):
        path.write_bytes(content[: int(share * len(content))])
        with pytest.raises(InvalidDataError, match=r"truncated|not readable as sound"):
            read_whole(path)
