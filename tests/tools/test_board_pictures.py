"""Pictures of the board are of today's records, and small."""

import json
import struct

from tools.board_pictures import DIGEST, FOLDER, SHOTS, records_sha256


def test_pictures_are_of_the_records_that_are_committed():
    said = "run 'make board-pictures': the records changed"
    assert json.loads(DIGEST.read_text("utf-8"))["records_sha256"] == records_sha256(), said


def test_pictures_are_small_and_of_the_width_that_they_name():
    assert sum((FOLDER / name).stat().st_size for name in SHOTS) < 1_200_000
    for name, (width, _, _) in SHOTS.items():
        content = (FOLDER / name).read_bytes()
        assert content.startswith(b"\x89PNG")
        assert struct.unpack(">I", content[16:20])[0] == width
