"""One name for each metric on every surface: the table of metrics is the only source."""

from pathlib import Path

import pytest

from bench.metrics.metric import METRICS
from bench.registry import task_card, task_names, track_names
from leaderboard.board.published import definitions, read_published

PUBLISHED = Path(__file__).resolve().parents[2] / "leaderboard" / "published"


def test_a_label_is_the_name_in_plain_spelling():
    """So that nobody has to guess which quantity of a record a head of the board is."""
    about, _ = read_published(PUBLISHED)
    every = [*METRICS.values(), *definitions(about).values()]
    for metric in every:
        assert metric.label.lower().replace("-", "_").replace(" ", "_") == metric.name
    assert len({metric.label for metric in every}) == len({metric.name for metric in every})


@pytest.mark.parametrize("track", track_names())
def test_task_cards_name_metrics_of_the_table(track):
    cards = [task_card(task, track) for task in task_names(track)]
    named = {name for card in cards for name in (*card.metrics, card.selects_by)}
    assert named <= METRICS.keys()
