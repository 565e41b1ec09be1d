"""Where a newcomer begins: an empty folder, and a toy corpus in the place of track `quick`'s."""

import contextlib
import io
import json
import re
import shutil
from pathlib import Path

from toy_track import make_toy, write_toy

from bench import registry
from bench.cli import main
from bench.load import loader
from bench.run import artifacts, job, plan, spec

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page, kind):
    """The code blocks of a page."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return [body for name, body in BLOCK.findall(text) if name == kind]


def begin(folder, monkeypatch):
    """Work in an empty folder: `ks` of track `quick` is a task of the toy, the rest is real."""
    write_toy(folder)
    card = (folder / "tasks/toy/tone.yaml").read_text()
    shutil.rmtree(folder / "tasks")
    shutil.copytree(registry.TASKS, folder / "tasks")
    card = card.replace("track: toy", "track: quick").replace("name: tone", "name: ks")
    (folder / "tasks/quick/ks.yaml").write_text(card)
    real = spec.corpus_module
    toy = make_toy(folder, monkeypatch)
    choose = {"toy": spec.corpus_module}
    monkeypatch.setattr(spec, "corpus_module", lambda name: choose.get(name, real)(name))
    for module in (job, plan, artifacts):
        monkeypatch.setattr(module, "load_upstream", loader.load_upstream)
    monkeypatch.setenv("SLIM_SUPERB_HOME", str(toy.home))
    # A board without rows: those of the shipped one are of another corpus than the toy.
    (folder / "empty" / "leaderboard" / "results").mkdir(parents=True)
    monkeypatch.chdir(folder / "empty")


def said(*words):
    """What a command that succeeds writes to stdout."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert main([*map(str, words)]) == 0
    return out.getvalue()


def cells(path):
    """The code cells of a notebook."""
    notebook = json.loads((ROOT / path).read_text(encoding="utf-8"))
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
