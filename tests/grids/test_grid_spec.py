"""The file of a grid."""

import pytest

from bench.errors import UsageError
from bench.grids.spec import make_grid_spec, read_grid


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("sedes: [0]", "sedes"),
        ("chunks: 4", "chunks"),
        ("seeds: [1, 1]", "twice"),
        ("gpu_share: 2", "gpu_share"),
    ],
)
def test_malformed_grids_are_refused_in_one_line(tmp_path, text, why):
    file = tmp_path / "grid.yaml"
    file.write_text(f"upstreams: [a]\ntasks: [b]\n{text}\n")
    with pytest.raises(UsageError, match=why) as error:
        read_grid(file)
    assert "\n" not in str(error.value)


def test_paths_are_relative_to_the_file(tmp_path):
    file = tmp_path / "grid.yaml"
    file.write_text("upstreams: [a]\ntasks: [b]\ndata: corpora\ncards: [a.yaml, /b.yaml]\n")
    assert read_grid(file).data == str(tmp_path / "corpora")
    assert read_grid(file).cards == (str(tmp_path / "a.yaml"), "/b.yaml")
    file.write_text("upstreams: [a]\ntasks: [b]\ndata: hf:someone/corpus\n")
    assert read_grid(file).data == "hf:someone/corpus"
    with pytest.raises(UsageError, match="threads"):
        make_grid_spec(upstreams=("a",), tasks=("b",), threads=0)
