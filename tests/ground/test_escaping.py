"""Texts from outside leave every command as plain lines, which cannot control a terminal."""

import json
import logging

import numpy as np
import pytest
import soundfile
import torch
import yaml
from recipe_toys import recipe_file
from safetensors.torch import load_file, save_file

from bench.cli import main
from bench.errors import one_line, printable
from bench.load.catalog import CARDS
from bench.load.files import SHIPPED
from bench.progress import bar, log_to_stderr, say, show, show_text, warn

CONTROL = "\x1b]0;owned\x07\x1b[2J\x1b[31m\x9b1m\r"
HOSTILE = f"x\n{CONTROL}slim-superb: all is well\u202egnp"


def plain(captured):
    """Return all lines of both streams, none of which a stranger began or controls."""
    text = captured.out + captured.err
    lines = text.split("\n")
    # Tabs are ours: they stand between the cells of a table, in which they are escaped.
    assert all(line.replace("\t", "").isprintable() for line in lines), text
    assert not any(line.startswith("slim-superb: all is well") for line in lines), text
    assert "all is well" in text
    return lines


@pytest.mark.parametrize("card", ["hubert_base", "house_whisper_distil"])
@pytest.mark.parametrize("command", [["check"], ["eval", "mine", "ks", "--limit", "4"]])
def test_names_of_tensors(card, command, tmp_path, capfd):
    content = yaml.safe_load((CARDS / f"{card}.yaml").read_text())
    content |= {"name": "mine", "checkpoint": {"file": "mine.safetensors"}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(content))
    state = (
        load_file(SHIPPED / "house_whisper_distil.safetensors")
        if card == "house_whisper_distil"
        else {}
    )
    save_file({**state, HOSTILE: torch.zeros(2)}, tmp_path / "mine.safetensors")
    out = ["--out", str(tmp_path)] if command[0] == "eval" else []
    assert main([*command, *out, "--card", str(tmp_path / "mine.yaml")]) == 4
    assert "\\u001b[2J" in "".join(plain(capfd.readouterr()))


def test_names_of_files(tmp_path, capfd):
    path = recipe_file(tmp_path)
    soundfile.write(tmp_path / "speech" / f"{HOSTILE}.wav", np.zeros(44_100), 44_100)
    assert main(["compress", str(path), "--out", str(tmp_path / "run")]) == 4
    assert "expected 16000 Hz mono, found 44100 Hz" in plain(capfd.readouterr())[-2]


@pytest.mark.parametrize("key", ["title", HOSTILE])
def test_texts_of_cards(key, tmp_path, capfd):
    """A good card is shown by `check`, a broken one by its error."""
    card = {"name": "mine", "title": "mine", "family": "baseline", "load": "upstreams.fbank:load"}
    path = tmp_path / "card.yaml"
    path.write_text(yaml.safe_dump(card | {"license": "none", "provenance": "none", key: HOSTILE}))
    assert main(["check", "--card", str(path)]) in (0, 2, 4)
    plain(capfd.readouterr())


def test_texts_in_lists(monkeypatch, capfd):
    from bench.load import catalog

    cards = {"fbank": catalog.upstream_card("fbank").model_copy(update={"title": HOSTILE})}
    monkeypatch.setattr(catalog, "upstream_names", lambda: tuple(cards))
    monkeypatch.setattr(catalog, "upstream_card", cards.get)
    assert main(["list", "upstreams"]) == 0
    plain(capfd.readouterr())


def test_every_way_out_escapes(capfd):
    for write in (show, show_text, warn, say):
        write(f"of the project: {HOSTILE}")
        plain(capfd.readouterr())
    with bar(total=2, label=HOSTILE, unit="s") as progress:
        progress.update(2)
    plain(capfd.readouterr())


def test_the_log_escapes(capfd):
    root = logging.getLogger()
    before, root.handlers = root.handlers, []
    try:
        log_to_stderr()
        logging.getLogger("lib").warning("of a library: %s", HOSTILE)
    finally:
        root.handlers = before
    assert len(plain(capfd.readouterr())) == 2


def test_what_is_printable_stays_and_json_stays_json():
    text = "caf\u00e9 \u4e2d\u6587 5 % \u2013 [0.1, 0.2]\n  indented"
    assert printable(text) == text and one_line("  indented") == "  indented"
    data = {"key": HOSTILE + "\udcff\U000e0001"}
    assert json.loads(printable(json.dumps(data, ensure_ascii=False))) == data
    assert one_line("a" * 999, 20) == "a" * 17 + "..."
