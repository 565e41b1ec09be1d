"""Where a newcomer begins: an empty folder, and a toy corpus in the place of track `quick`'s."""

import contextlib
import io
import json
import re
from pathlib import Path

from toy_track import make_toy, write_toy

from bench.cli import main
from bench.load import loader
from bench.run import artifacts, job, plan

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page, kind):
    """The code blocks of a page."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return [body for name, body in BLOCK.findall(text) if name == kind]


def begin(folder, monkeypatch):
    """Work in an empty folder: `ks` of track `quick` is a task of the toy, encoders are real."""
    write_toy(folder)
    tasks = (folder / "tasks" / "toy").rename(folder / "tasks" / "quick")
    for old, new in (("track", "track"), ("tone", "ks"), ("voice", "asv")):
        text = (tasks / f"{old}.yaml").read_text().replace("track: toy", "track: quick")
        text = text.replace("name: toy", "name: quick").replace(f"name: {old}", f"name: {new}")
        (tasks / f"{old}.yaml").unlink()
        (tasks / f"{new}.yaml").write_text(text)
    toy = make_toy(folder, monkeypatch)
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
