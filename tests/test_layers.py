"""Who may import whom, and how light the light parts are."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
OURS = {"bench", "upstreams", "downstreams", "leaderboard"}
LEAVES = {
    "bench.checkout",
    "bench.curves",
    "bench.errors",
    "bench.paths",
    "bench.seeds",
    "bench.yaml_file",
}
FAMILIES = ("bench.corpora", "bench.distortions")  # whose files may import each other
LOW = {"audio", "data", "featurizer", "metrics", "edits", "items", "detection", "sox", "stats"}


def modules():
    for package in sorted(OURS):
        for path in sorted((ROOT / package).rglob("*.py")):
            relative = path.relative_to(ROOT).with_suffix("")
            yield ".".join(relative.parts).removesuffix(".__init__"), path


def imports_of(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module}
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    names = {name for name in found if name.split(".")[0] in OURS}
    known = {name for name, _ in modules()}
    return {name for name in names if name in known} - OURS


def allowed(module: str) -> set[str] | None:
    """Modules of ours that `module` may import; None means anything in bench."""
    package, _, rest = module.partition(".")
    if package == "leaderboard":
        names = ("record", "config", "registry", "names", "stats", "metrics", "draws", "standing")
        names += ("condition_file", "detection", "ladder_plot", "plots")
        return LEAVES | {f"bench.{name}" for name in names}
    if package == "upstreams":
        return LEAVES | {"bench.api", "bench.torchaudio_guard"}
    if package == "downstreams":
        return LEAVES | {"bench.api", "bench.metrics"}
    if rest in {"checkout", "curves", "errors", "seeds"}:
        return set()
    if rest == "yaml_file":
        return {"bench.errors"}
    if rest in {"api", "paths", "config", "record", "torchaudio_guard", "progress"}:
        return LEAVES | {"bench.config"}
    if rest.split(".")[0] in LOW | {"corpora", "distortions"}:
        low = {f"bench.{name}" for name in LOW}
        effects = {"bench.seeds", "bench.torchaudio_guard"} if rest.startswith("distort") else set()
        return LEAVES | low | effects | {"bench.api", "bench.progress"}
    return None


@pytest.mark.parametrize(("module", "path"), list(modules()), ids=lambda value: str(value)[-40:])
def test_imports_flow_one_way(module, path):
    package = module.split(".")[0]
    limits = allowed(module)
    for name in imports_of(path):
        if name.split(".")[0] == package and (package != "bench" or limits is None):
            continue
        if any(module.startswith(own) and name.startswith(own) for own in FAMILIES):
            continue
        if limits is None:
            plugin = name.split(".")[0] != "bench"
            cli = module.startswith("bench.commands") and name.startswith("leaderboard")
            assert not plugin or cli, f"{module} reaches {name} without the registry"
        else:
            assert name in limits, f"{module} must not import {name}"


def test_no_file_is_a_novel():
    for module, path in modules():
        lines = path.read_text(encoding="utf-8").count("\n")
        assert lines <= 400, f"{module} has {lines} lines"


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("bench.cli", {"torch", "numpy", "datasets", "tqdm", "pydantic", "yaml"}),
        ("bench.registry", {"torch", "numpy", "datasets"}),
        ("bench.record", {"torch", "numpy", "datasets"}),
        ("leaderboard.build", {"torch", "datasets"}),
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
