"""Folders stand in one order; a file imports from its own folder and from those before it."""

import ast
import re
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from bench.registry import BORDER, resolve

ROOT = Path(__file__).resolve().parents[1]
# Files of `bench` itself are the ground; `cli` and `__main__` are its roof. Plug-ins (upstreams,
# downstreams) see the contracts and the ground, and are reached by name (`bench.registry`).
ROOF = ("bench.cli", "bench.__main__")
DOOR = "bench"  # its `__init__` names what Python programs call, and imports it on use
ORDER = (
    "bench",
    "bench.terminal",
    *("bench.sound", "bench.records", "bench.metrics", "bench.distortions", "bench.load"),
    *("bench.corpora.package", "bench.corpora.games", "bench.corpora.noise"),
    *("bench.corpora.embedded", "bench.corpora.official", "bench.corpora.own"),
    *("bench.features", "bench.measure", "bench.probe", "bench.run", "bench.reports"),
    *("bench.layers", "bench.conditions"),
    *("bench.supernets", "bench.submit", "bench.make", "bench.grids", "bench.grids.executors"),
    *("leaderboard.board", "leaderboard.terminal", "leaderboard.page", "bench.library"),
    "bench.commands",
    *ROOF,
    "tools.markdown",
    *("tools.benchmarks", "tools.peers", "tools.checkpoints", "tools.pages", "tools.family"),
    *("tools.recipes", "tools.corpus", "tools.commands", "tools.hostile", "tools.grids", "tools"),
    *("upstreams.encoder", "upstreams.supernet", "upstreams.formats"),
    *(
        "upstreams.formats.layouts",
        "upstreams.importers",
        "upstreams.onnx",
        "upstreams.sources",
        "upstreams",
    ),
    *("upstreams.recipes.training", "upstreams.recipes.pretraining"),
    *("upstreams.recipes.distillation", "upstreams.recipes.finetuning"),
    "upstreams.recipes.pruning",
    "downstreams",
)
PLUGINS = ("upstreams", "downstreams")
# What plug-ins import from the harness beside `bench` itself.
BEYOND_CONTRACTS = {
    ("upstreams", "bench.records.curves"),
    ("upstreams", "bench.sound.torchaudio_guard"),
    ("downstreams", "bench.metrics.metric"),
    ("downstreams", "bench.features.workers"),
}
HARNESS = ("bench", "leaderboard", "tools")
MAX_LINES = 300  # of a file
MAX_FILES = 14  # of a folder, the folders in it not counted
FOLDER_LIMITS = {"bench": 16}
# A file in one of these folders is a plug-in: the name of the file finds it, nothing imports it.
FILE_PLUGINS = {"bench/commands", "bench/distortions", "tools/benchmarks", "tools/commands"}


def modules() -> dict[str, Path]:
    """Every module of ours, by its dotted name."""
    files = [p for top in (*HARNESS, *PLUGINS) for p in sorted((ROOT / top).rglob("*.py"))]
    names = [".".join(p.relative_to(ROOT).with_suffix("").parts) for p in files]
    return {name.removesuffix(".__init__"): p for name, p in zip(names, files, strict=True)}


MODULES = modules()


def room(module: str) -> str:
    """The folder of a module, as `ORDER` names it."""
    if module == DOOR:
        return ROOF[0]
    return module if module in ORDER else module.rpartition(".")[0]


def imports_of(path: Path) -> set[str]:
    """The modules of ours that a file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            parts = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= parts & MODULES.keys() or {node.module}
    return {name for name in names & MODULES.keys() if name not in ORDER or name in ROOF}


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_flow_one_way(module):
    own, top = room(module), module.partition(".")[0]
    for name in imports_of(MODULES[module]):
        other = room(name)
        if top in PLUGINS and not name.startswith(top):
            assert other == "bench" or (top, name) in BEYOND_CONTRACTS, (
                f"{module} must not import {name}"
            )
        elif top not in PLUGINS and other.split(".")[0] in PLUGINS:
            assert top == "tools", f"{module} reaches {name} without the registry"
        else:
            assert ORDER.index(other) <= ORDER.index(own), f"{module} imports {name}, above it"


def strings_of(path: Path) -> set[str]:
    """The strings of a file without its docstrings; "x" stands for what an f-string fills in."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    docstrings = {node.value for node in nodes if isinstance(node, ast.Expr)}
    parts = [
        node.values if isinstance(node, ast.JoinedStr) else [node]
        for node in nodes
        if isinstance(node, ast.JoinedStr | ast.Constant) and node not in docstrings
    ]
    return {"".join(str(getattr(part, "value", "x")) for part in each) for each in parts}


@pytest.mark.parametrize("module", sorted(m for m in MODULES if m.startswith(HARNESS)))
def test_one_table_names_what_the_harness_reaches_in_plugins(module):
    """A module named in a string would hide an import from the test above."""
    texts = strings_of(MODULES[module])
    named = {text for text in texts if re.match(r"(up|down)streams\.\w", text)}
    assert named == (set(BORDER.values()) if module == "bench.registry" else set())


@pytest.mark.parametrize("target", BORDER.values())
def test_the_table_names_what_exists(target):
    assert callable(resolve(target.format(kind="python")))


def test_no_file_is_a_novel():
    lines = {name: path.read_text(encoding="utf-8").count("\n") for name, path in MODULES.items()}
    assert {name: count for name, count in lines.items() if count > MAX_LINES} == {}


def test_no_class_name_is_there_twice():
    """A name is enough to find a class."""
    places = defaultdict(list)
    for module, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(module)
    assert {name: modules for name, modules in places.items() if len(modules) > 1} == {}


def test_no_folder_is_crowded():
    files = Counter(path.parent.relative_to(ROOT).as_posix() for path in MODULES.values())
    limits = {
        folder: FOLDER_LIMITS.get(folder, MAX_FILES) for folder in files.keys() - FILE_PLUGINS
    }
    assert {name: files[name] for name, limit in limits.items() if files[name] > limit} == {}


@pytest.mark.parametrize("package", sorted(p for p in MODULES if MODULES[p].stem == "__init__"))
def test_a_package_says_in_five_lines_what_lives_in_it(package):
    docstring = ast.get_docstring(ast.parse(MODULES[package].read_text(encoding="utf-8")))
    assert docstring, f"{package} has no docstring"
    assert sum(bool(line.strip()) for line in docstring.splitlines()) <= 5


def test_every_folder_of_code_is_a_package():
    folders = {path.parent for path in MODULES.values()}
    assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []


def test_no_test_imports_another():
    """What tests share is in tests/helpers, or in a conftest.py."""
    sharing = re.compile(r"^\s*(from|import) test_", re.MULTILINE)
    files = [path for top in ("tests", "tools") for path in (ROOT / top).rglob("*.py")]
    assert [path for path in files if sharing.search(path.read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("bench.cli", {"torch", "numpy", "datasets", "tqdm", "pydantic", "yaml"}),
        ("bench.registry", {"torch", "numpy", "datasets"}),
        ("bench.records.record", {"torch", "numpy", "datasets"}),
        ("leaderboard.page.build", {"torch", "datasets"}),
    ],
)
def test_light_modules_import_nothing_heavy(module, heavy):
    code = f"import sys, {module}; print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not heavy & set(done.stdout.split())


def test_bench_is_ours(tmp_path):
    """The editable install wins even where the working directory holds a folder of that name."""
    (tmp_path / "bench").mkdir()
    code = "import bench; print(bench.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert Path(done.stdout.strip()) == ROOT / "bench" / "__init__.py"
