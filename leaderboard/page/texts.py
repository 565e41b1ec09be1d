"""Sentences of the page and the exports."""

from __future__ import annotations

KINDS = {
    "measured": "measured here",
    "reported": "as reported",
    "control": "control",
}
HOW_TO_READ = (
    "Numbers are means over training seeds, with a 95 % bootstrap interval over test utterances "
    "(over speakers for SID and ASV). The number of seeds and the counts stand beside a number "
    "or in the section of its row. The interval is that of the mean over seeds; seeds are fixed. "
    "With the dozen speakers of track open, intervals over speakers are somewhat narrow. Every "
    "pair of rows is compared on the same resamples (paired, Student's t on clusters), with "
    "Holm's correction within the column, which gives each row a band of ranks: rows whose bands "
    "do not overlap are told apart; for two rows whose bands overlap, run `slim-superb compare`. "
    "Controls do not compete: they show the scores of chance, of random weights or of a model "
    "that was trained for the task itself. Reported rows are numbers of papers, never measured "
    "here. A dash means not measured."
)
HOW_TO_READ_LAYERS = (
    "A multinomial logistic regression on the mean over time of each hidden state, and of all "
    "states side by side, z-scored: no seed and no training step. Its one constant is chosen by "
    "cross-validation over disjoint speakers of train and dev (for SID, over parts of the script). "
    "Numbers are on the clean test set. State 0 is the input of the first layer: what the layers "
    "add to it has a 95 % interval over speakers. An upstream whose layers add nothing cannot show "
    "on this task what compression of its layers costs."
)
HOW_TO_COMPARE_LOSS = (
    "The relative degradation of a row is its loss against clean speech in the bad direction of "
    "the metric, relative to its own clean score: 10 means a tenth worse. A cell is the mean "
    "over tasks, with the mean of the tasks' 95 % intervals. A row that lacks tasks names those "
    "that it has: compare it task by task. The main table has the mean over tasks of the mean "
    "over conditions, and the worst condition of those with the most tasks. Both are over the "
    "same pairs of task and condition: those of a competing row for which the number of pairs "
    "times the number of rows with all of them is largest. A row that lacks some of these pairs "
    "says how many it has; it has no rank there, is not drawn, and comes last. A ladder's column "
    "is the mean over its severities; the curves and the sections of upstreams have each of "
    "them. Its interval is that of the mean for tasks with committed draws of it. A row with a "
    "bad clean score has little to lose: read its loss beside that score."
)
