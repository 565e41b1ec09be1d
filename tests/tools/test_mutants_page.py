"""The page of mutation testing: counts from mutmut's files, and reasons for survivors."""

import json

import tools.commands
from bench.cli import main
from bench.registry import ROOT
from bench.schema import read_yaml
from tools.pages.mutants import (
    REASONS,
    ModuleMutants,
    Survivor,
    choose_sample,
    page,
    read_results,
)


def write_results(folder, path, codes):
    meta = folder / f"{path}.meta"
    meta.parent.mkdir(parents=True, exist_ok=True)
    names = {f"bench.x_function__mutmut_{n}": code for n, code in enumerate(codes)}
    meta.write_text(json.dumps({"exit_code_by_key": names}))


def test_killed_mutants_and_those_that_ran_are_counted(tmp_path):
    write_results(tmp_path, "bench/a.py", [1, 1, 3, -24, 36, None, 34])
    write_results(tmp_path, "bench/none.py", [])
    (module,) = read_results(tmp_path, {"everywhere": {}})
    assert module == ModuleMutants("bench/a.py", total=7, run=5, survivors=())
    assert (module.killed, module.equivalent) == (5, 0)


def test_a_survivor_has_a_reason_or_is_a_gap():
    survivors = (
        Survivor("f: a <= b", "a < b", "a is never b"),
        Survivor("f: return 2", "return 1", ""),
    )
    modules = [ModuleMutants("a.py", 12, 10, survivors), ModuleMutants("b.py", 3, 0, ())]
    text = page(modules, "mutmut 3")
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    assert ["`a.py`", "12", "10", "8", "1", "80.0"] in cells
    assert ["`b.py`", "3", "0", "0", "0", "-"] in cells
    assert ["all", "15", "10", "8", "1", "80.0"] in cells
    assert "- `f: a <= b`\n  (was `a < b`): a is never b\n" in text
    assert "- `f: return 2`\n  (was `return 1`): **no test sees it**\n" in text
    assert "### `b.py`" not in text
    assert "they are a random sample" in text
    assert "random sample" not in page([ModuleMutants("a.py", 9, 9, ())], "mutmut 3")


def test_without_results_the_page_is_not_written(tmp_path, capsys):
    command = ["mutants-page", "--results", str(tmp_path), "--out", str(tmp_path / "page.md")]
    assert main(command, package=tools.commands, prog="python -m tools") == 3
    assert "run 'make mutants'" in capsys.readouterr().err
    assert not (tmp_path / "page.md").exists()


def test_reasons_are_of_files_that_exist():
    for path, reasons in read_yaml(REASONS).items():
        assert path == "everywhere" or (ROOT / path).exists()
        assert all(isinstance(reason, str) and reason for reason in reasons.values())


def test_a_sample_has_as_many_mutants_of_every_file_and_keeps_what_was_run(tmp_path):
    write_results(tmp_path, "bench/large.py", [None] * 30 + [1] * 10 + [34] * 10)
    write_results(tmp_path, "bench/small.py", [None, 34, 0])
    left = choose_sample(tmp_path, 20)
    codes = {
        name: json.loads((tmp_path / f"bench/{name}.py.meta").read_text())["exit_code_by_key"]
        for name in ("large", "small")
    }
    assert list(codes["small"].values()) == [None, None, 0]
    large = list(codes["large"].values())
    assert large[30:40] == [1] * 10
    assert set(large[:30] + large[40:]) == {None, 34}
    assert large.count(None) == 20 - 10
    assert left == choose_sample(tmp_path, 20) == 10 + 2
    assert choose_sample(tmp_path, 99) == 40 + 2
