"""Every benchmark that trains or passes a corpus runs to its table, on a corpus of tones."""

from importlib import import_module
from types import SimpleNamespace

import pytest
from toy_track import rows
from toys import make_utterances

from bench.registry import task_card
from bench.run import spec
from bench.sound.manifests import write_table
from tools.benchmarks import (
    _page,
    _setting,
    a_reuse,
    b_s3prl,
    d_growth,
    g_crops,
    k_cores,
    l_ctc_head,
)

TARGETS = {
    "ks": lambda item: item.target,
    "ic": lambda item: item.target,
    "asr": lambda item: "TONE" if item.target == "low" else "NOTE",
    "slu": lambda item: {"text": "A TONE", "slots": [["item", item.target.upper()]]},
    "sid": lambda item: item.speaker,
}
SMALL = "fbank"
FULL_SIZE = {"projection": 8, "hidden": 8, "layers": 1, "dropout": 0.0, "frame_ms": 20}


@pytest.fixture
def tones(tmp_path, monkeypatch):
    """A home whose embedded corpora are tones, with all tables that are read."""
    corpus = tmp_path / "home" / "corpora" / "tones"
    (corpus / "audio").mkdir(parents=True)
    items = make_utterances(corpus / "audio", 16)
    for task, target in TARGETS.items():
        for card in (task_card(task, track) for track in ("open", "quick")):
            for _, table in (part for split in card.tables for part in card.parts(split)):
                write_table(corpus, table, rows(corpus, items, target))
    module = SimpleNamespace(folder=lambda home: corpus, prepare=lambda home, **_: corpus)
    monkeypatch.setattr(spec, "corpus_module", lambda name: module)
    monkeypatch.setattr(spec, "needed_tables", lambda *_: {})
    return tmp_path / "home"


@pytest.fixture
def small(monkeypatch):
    """Benchmarks of as little as runs through their code."""
    for module in (_setting, a_reuse, b_s3prl, l_ctc_head):
        monkeypatch.setattr(module, "EPOCHS", 1)
    for module in (_setting, a_reuse, b_s3prl, d_growth, g_crops):
        monkeypatch.setattr(module, "SEEDS", (0,))
    for module in (g_crops, l_ctc_head):
        monkeypatch.setattr(module, "UPSTREAM", SMALL)
    monkeypatch.setattr(k_cores, "UPSTREAMS", (SMALL,))
    monkeypatch.setattr(a_reuse, "POOLED", {"ks": 1})
    monkeypatch.setattr(g_crops, "task_card", _four_updates)
    monkeypatch.setattr(_setting, "FULL_SIZE", FULL_SIZE)


def _four_updates(task, track):
    card = task_card(task, track)
    recipe = card.recipe.model_copy(update={"steps": 4, "eval_every": 4, "warmup": 1})
    return card.model_copy(update={"recipe": recipe})


@pytest.mark.parametrize("name", ["reuse", "s3prl", "growth", "cores", "ctc_head", "crops"])
def test_a_benchmark_runs_to_its_table(tones, small, name):
    module = import_module(f"tools.benchmarks.{_page.names()[name]}")
    setting = _setting.Setting(tones, SMALL, utterances=4, repeats=1)
    assert "|--" in module.measure(setting)
