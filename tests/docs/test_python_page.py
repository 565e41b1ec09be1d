"""The page and the notebook of the Python functions: every block and cell runs, on a toy corpus."""

import contextlib
import inspect
import io
import re

import pytest
from newcomer import ROOT, begin, blocks, cells

import bench
from bench.errors import UsageError


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """What the blocks of the page and then the cells of the notebook left and printed."""
    results = []
    with pytest.MonkeyPatch.context() as patch:
        begin(tmp_path_factory.mktemp("python"), patch)
        for sources in (
            blocks("docs/python.md", "python"),
            ["".join(cell["source"]) for cell in cells("docs/python.ipynb")],
        ):
            scope = {"__name__": "__main__"}
            with contextlib.redirect_stdout(io.StringIO()) as out:
                for source in sources:
                    exec(compile(source, "a block", "exec"), scope)
            results.append((scope, out.getvalue()))
    return results


def test_the_blocks_of_the_page(ran):
    scope, printed = ran[0]
    assert [record.seed for record in scope["records"]] == [0, 1]
    assert scope["mine"][0].upstream.startswith("memory:frames-")
    assert "did you mean 'house_whisper_distil'" in printed
    lines = scope["comparison"].lines()
    assert {line["track"] for line in lines} == {"quick"} and len(lines) == 3
    assert all(0 <= line["p"] <= line["p_holm"] <= 1 for line in lines)
    assert (
        "difference [95 %]" in printed and "house_whisper_ofa (your runs, 2 head seeds)" in printed
    )


def test_the_cells_of_the_notebook(ran):
    scope, printed = ran[1]
    assert re.search(r"accuracy \d+\.\d% \[", printed) and "better: " in printed
    assert [item.condition for item in scope["noisy"][0].conditions] == ["white-0db", "white-20db"]
    assert all(not cell["outputs"] for cell in cells("docs/python.ipynb"))


def test_the_page_has_the_signatures_and_arguments_of_the_functions():
    text = (ROOT / "docs/python.md").read_text(encoding="utf-8")
    for name in ("evaluate", "load_upstream", "compare"):
        function = getattr(bench, name)
        (block,) = (body for body in blocks("docs/python.md", "text") if f".{name}(" in body)
        inside = block[block.index("(") + 1 : block.rindex(")")]
        written = [part.split("=")[0].strip() for part in re.split(r",(?![^()]*\))", inside)]
        star = {inspect.Parameter.VAR_POSITIONAL: "*"}
        parameters = inspect.signature(function).parameters.values()
        expected = [star.get(item.kind, "") + item.name for item in parameters]
        assert [part for part in written if part != "*"] == expected
        for item in parameters:
            if item.default not in (inspect.Parameter.empty, None):
                assert f"{item.name}=" in block
    for name in inspect.signature(bench.evaluate).parameters:
        assert f"`{name}`" in text


@pytest.mark.parametrize(
    ("models", "words"),
    [
        (("house_whisper_distil",), "two models or more"),
        ((3, "fbank"), "expected a name or the records of bench.evaluate, found a int"),
        (([], "fbank"), "records of one model, found none"),
        (("house_distill", "fbank"), "did you mean"),
    ],
)
def test_what_cannot_be_compared_is_one_line(models, words, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(UsageError, match=words):
        bench.compare(*models, out=tmp_path)
