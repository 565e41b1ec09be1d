"""Dry runs: which recipes they cover, and how the outcome is counted."""

import pytest

from bench.make.recipe import recipe_card, recipe_names
from tools.recipes.dry_runs import DryRun, count_macs, dry_run, planned, write_page
from upstreams.encoder.config import EncoderConfig

# Parameters: the family is small; a copy of Whisper's four layers has 7.1 M before its front end.
HOUSE, WHISPER_TINY = 5_000_000, 8_000_000


def test_every_published_recipe_is_run():
    names = {name for name, _ in planned()}
    assert names == {name for name in recipe_names() if not name.startswith("house_")}
    teachers = {teacher for _, teacher in planned()}
    assert {"hubert_base", "wav2vec2_base", "wavlm_base_plus"} <= teachers


@pytest.mark.parametrize("name", [name for name in recipe_names() if name.startswith("house_")])
def test_every_house_recipe_makes_updates_in_its_precision(name):
    """Four clips of 1.2 s have too few frames for the clusters of a real run."""
    card = recipe_card(name)
    few = {
        "house_whisper_distil_disc": {"config.clusters": 16},
        "house_mel": {"config.codebooks": ["mfcc:16"]},
    }
    settings = {
        "training.precision": card.training.get("precision", "float32"),
        **few.get(name, {}),
    }
    largest = WHISPER_TINY if card.teacher == "whisper_tiny_en" else HOUSE
    assert dry_run(name, card.teacher, settings).params < largest


def test_hubert_base_has_its_multiply_accumulates():
    assert count_macs(EncoderConfig()) / 1e9 == pytest.approx(1_665.5, abs=0.1)


def test_the_page_has_published_figures_beside_ours(tmp_path):
    runs = [DryRun("dphubert", "hubert_base", 9.6, 23_590_000, 654.1e9)]
    write_page(runs, tmp_path / "page.md")
    line = (tmp_path / "page.md").read_text().splitlines()[-1]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells == ["`dphubert`", "`hubert_base`", "10", "23.59", "23.59", "654.1", "654.1"]
