"""Sentences of the board."""

from __future__ import annotations

EMPTY = "No records yet."
KINDS = {
    "measured": "measured here",
    "reported": "as reported",
    "control": "control",
}
HOW_TO_READ = (
    "Numbers are means over training seeds, with a 95 % bootstrap interval (by speaker for SID "
    "and ASV); how many seeds, and what was counted, stands beside a number or in its row's "
    "section. Where several seeds were run, the interval is that of their mean; seeds are fixed. "
    "With the dozen speakers of track open, intervals by speaker are somewhat narrow. Ranks come "
    "as bands: every pair of rows is compared on the same resamples (paired, Student's t on "
    "clusters), corrected by Holm's rule within the column; rows whose bands do not overlap are "
    "told apart; of two whose bands overlap, `slim-superb compare` says whether they are. "
    "Controls are no competitors: they show what chance, random weights or a model trained for "
    "the task itself reach. Rows as reported by papers are never measured here, and stand apart. "
    "A dash means not measured."
)
HOW_TO_COMPARE_LOSS = (
    "How much worse than on clean speech, relative to the row's own clean score, in the metric's "
    "bad direction; mean over tasks, in brackets the mean of the tasks' 95 % intervals. 10 means a "
    "tenth worse. A row that lacks tasks names those it has: compare it task by task. The main "
    "table has the mean over tasks of the mean over conditions, and the worst condition of those "
    "with most tasks, over the same pairs of task and condition for all: those of a competing row "
    "by which most is compared (pairs times rows that have them all). A row that lacks some says "
    "over how many its numbers are: they neither sort nor rank nor are drawn, and come last. "
    "A ladder's column is the mean over its severities, each of which is in the curves and in the "
    "sections of upstreams; of a task whose draws are kept the interval is that mean's own. A row "
    "that is bad on clean speech has little to lose: read it beside its clean score."
)
METRIC_TITLES = {
    "cer": "CER",
    "der": "DER",
    "eer": "EER",
    "min_dcf": "min DCF",
    "mtwv": "MTWV",
    "per": "PER",
    "slot_f1": "slot-value F1",
    "slot_type_f1": "slot F1",
    "slot_value_cer": "slot CER",
    "wer": "WER",
}
