"""Manifests that are not what they must be: told in one line, with the column."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from toy_track import rows
from toys import make_utterances

from bench.errors import InvalidDataError
from bench.sound.manifests import read_table, write_table


@pytest.fixture
def manifest(tmp_path):
    (tmp_path / "audio").mkdir()
    write_table(tmp_path, "all", rows(tmp_path, make_utterances(tmp_path / "audio", 4, 0)))
    return tmp_path / "tables" / "all.parquet"


def put(name, values):
    """A table with another column in the place of one."""

    def change(table):
        return table.set_column(table.schema.get_field_index(name), name, pa.array(values))

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.drop_columns(["key"]), "lacks the column key"),
        (
            put("num_samples", ["1", "2", "3", "4"]),
            "column 'num_samples' is string, int64 expected",
        ),
        (put("id", ["a", None, "c", "d"]), "column 'id' has 1 empty fields"),
        (put("id", ["a", "a", "c", "d"]), "duplicate id 'a'"),
        (put("path", ["a", "b", "../c", "d"]), "points outside the corpus"),
        (put("start", [0, 0, -1, 0]), "below 0 samples"),
        (put("target", ["1", "[" * 100_000, "3", "4"]), "is not JSON"),
    ],
)
def test_a_manifest_of_another_content_is_refused(manifest, change, message):
    pq.write_table(change(pq.read_table(manifest)), manifest)
    with pytest.raises(InvalidDataError, match=message) as caught:
        read_table(manifest.parents[1], "all")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("place", [5, -1, -6, -200])
def test_a_damaged_manifest_is_refused_in_one_line(manifest, place):
    content = bytearray(manifest.read_bytes())
    content[place] ^= 0xFF
    manifest.write_bytes(content[: place + 1] if place > 0 else content)
    with pytest.raises(InvalidDataError, match=r"all\.parquet: not a Parquet table") as caught:
        read_table(manifest.parents[1], "all")
    assert "\n" not in str(caught.value)
