"""`slim-superb score-lm`: decode a finished run of speech recognition with a language model."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from bench.commands._options import add_card, session_of
from bench.features.engine_options import add_device

GROUP = "evaluate"
HELP = "Decode a finished run of speech recognition with a language model."
EXAMPLE = (
    "slim-superb score-lm runs/superb/hubert_base/asr-s0.json --lm 4-gram.arpa "
    "--lexicon librispeech_lexicon.lst"
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("record", type=Path, help="of a finished run")
    parser.add_argument("--lm", type=Path, required=True, help="ARPA or KenLM file")
    parser.add_argument("--lexicon", type=Path, required=True, help="words and their letters")
    beam = parser.add_argument_group("beam search", "defaults are SUPERB's; choose others on dev")
    beam.add_argument("--beam", type=int, default=5, help="hypotheses (default 5)")
    beam.add_argument("--lm-weight", type=float, default=2.0, help="of the model (default 2)")
    beam.add_argument("--word-score", type=float, default=-1.0, help="of a word (default -1)")
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
    from bench.run.language_model import BeamSearch, score_with_lm
    from bench.terminal.table import TableColumn, TerminalTable, show_table

    session = replace(session_of(options), upstream=options.upstream)
    search = BeamSearch(
        beam=options.beam, lm_weight=options.lm_weight, word_score=options.word_score
    )
    scores = score_with_lm(options.record, options.lm, options.lexicon, session, search)
    record = read_record(options.record)
    greedy = {(score.condition, score.metric): score_text(score) for score in record.scores}
    rows = [
        (
            score.condition,
            METRICS[score.metric].label,
            greedy.get((score.condition, score.metric), ""),
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
