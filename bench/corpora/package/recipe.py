"""Identity of the code that makes a corpus: of its meaning, not of its wording.

The digest is taken of the syntax trees of a module and of all modules of `bench` that it imports,
without comments and docstrings. Editing a comment does not make a corpus again; editing a rule, a
constant or a pinned package does.
"""

from __future__ import annotations

import ast
import hashlib
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[3]

# These modules fetch, lock, check or report. No utterance depends on them.
NO_CONTENT = frozenset(
    {
        *("bench.api", "bench.engine", "bench.errors", "bench.paths"),
        *("bench.progress", "bench.schema"),
        *("bench.corpora.package.corpus_files", "bench.corpora.package.corpus_folder"),
        *("bench.corpora.package.debian", "bench.corpora.package.recipe"),
        *("bench.corpora.official._download", "bench.corpora.official._hub"),
    }
)


@cache
def code_digest(module: str, *data: Path) -> str:
    """Return the sha256 of a module, of what it imports from `bench`, and of data files.

    Args:
        module: dotted name.
        data: files beside the code that decide the content, in this order.
    """
    sha = hashlib.sha256()
    for _, tree in sorted(_trees(module).items()):
        sha.update(_meaning(tree).encode())
    for path in data:
        sha.update(path.read_bytes())
    return sha.hexdigest()


def _trees(module: str) -> dict[str, ast.Module]:
    """Return the syntax trees of a module and of its imports that decide content, by name."""
    trees: dict[str, ast.Module] = {}
    names = [module]
    while names:
        name = names.pop()
        path = ROOT.joinpath(*name.split(".")).with_suffix(".py")
        if name in trees or name in NO_CONTENT or not path.is_file():
            continue
        trees[name] = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(trees[name]):
            if isinstance(node, ast.Import):
                names += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return {name: tree for name, tree in trees.items() if name.startswith("bench.")}


def _meaning(node: object) -> str:
    """Return a syntax tree as text, the same for every version of Python that can parse it.

    Docstrings, positions and empty fields are left out; `ast.dump` keeps the latter in some
    versions only.
    """
    if isinstance(node, list):
        return f"[{','.join(map(_meaning, node))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = {name: value for name, value in ast.iter_fields(node) if value not in (None, [])}
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
        fields["body"] = node.body[1:]
    inside = ",".join(f"{name}={_meaning(value)}" for name, value in fields.items())
    return f"{type(node).__name__}({inside})"
