"""`slim-superb score-lm`: decode a finished run of speech recognition with a language model."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from bench.commands._options import add_card, session_of
from bench.features.engine_options import add_device

GROUP = "evaluate"
HELP = "Decode a finished ASR run of track superb with a language model."
EXAMPLE = (
    "slim-superb score-lm runs/superb/hubert_base/asr-s0.json --lm 4-gram.arpa "
    "--lexicon librispeech_lexicon.lst"
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("record", type=Path, help="of a finished run")
    parser.add_argument("--lm", type=Path, required=True, help="ARPA or KenLM file")
    parser.add_argument("--lexicon", type=Path, required=True, help="words and their letters")
    parser.add_argument("--weights", type=Path, help="checkpoint file, instead of downloading it")
    add_card(parser)
    parser.add_argument("--allow-code", action="store_true", help="run the code that a card names")
    parser.add_argument("--upstream", help="KIND:PLACE of the evaluated model, if it has no card")
    add_device(parser)


def run(options: argparse.Namespace) -> int:
    """Decode, score and print the scores beside the greedy ones."""
    from bench.metrics.metric import METRICS
    from bench.records.record import read_record
    from bench.reports.run_report import counts_text, score_text
    from bench.run.language_model import score_with_lm
    from bench.terminal.table import TableColumn, TerminalTable, show_table

    session = replace(session_of(options), upstream=options.upstream)
    scores = score_with_lm(options.record, options.lm, options.lexicon, session)
    record = read_record(options.record)
    rows = [
        (
            score.condition,
            METRICS[score.metric].label,
            score_text(record.score(score.condition, score.metric)),
            score_text(score),
            counts_text(score),
        )
        for score in scores
    ]
    columns = (
        TableColumn("test set"),
        TableColumn("metric"),
        TableColumn("greedy, % [95 %]", is_number=True),
        TableColumn("with LM, % [95 %]", is_number=True),
        TableColumn("counts with LM", is_number=True, priority=1),
    )
    show_table(TerminalTable(columns, rows))
    return 0
