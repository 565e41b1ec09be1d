"""Sentences of the page and the exports."""

from __future__ import annotations

KINDS = {
    "measured": "measured here",
    "reported": "as reported",
    "control": "control",
}
# Lines above the rows of a table: what a reader must know before believing a column.
REFERENCES = (
    ("Chance: the best guess without sound", "chance"),
    ("Best control", "control"),
    ("Smallest detectable difference", "resolution"),
)
HOW_TO_READ = (
    "Numbers are means over head seeds, with a 95 % interval over other speakers of the test set "
    "and other head seeds (other utterances, where fewer than six test speakers are known). A row "
    "is one training of an upstream: another training differs by more. The variance of head seeds "
    "is pooled over the rows of a column; if no row has two seeds, the interval covers speakers "
    "only and nothing is ranked. Every pair of rows with two seeds or more is compared on the same "
    "items, with Holm's correction within the column, which gives each row a band of ranks: rows "
    "whose bands do not overlap are told apart; for two rows whose bands overlap, run slim-superb "
    "compare. All bands of a column are right together with a probability of 95 % "
    "(docs/statistics.md has the tests of these claims). Controls do not compete: they show the "
    "scores of chance or of random weights. "
    "Reported rows are numbers of papers, never measured here. A dash means not measured."
)
HOW_TO_READ_LAYERS = (
    "A multinomial logistic regression on the mean over time of each hidden state, and of all "
    "states side by side, z-scored: no seed and no training step. Its one constant is chosen by "
    "cross-validation over disjoint speakers of train and dev (for SID, over parts of the script). "
    "Numbers are on the clean test set. State 0 is the input of the first layer: what the layers "
    "add to it has a 95 % interval over speakers. An upstream whose layers add nothing cannot show "
    "on this task what compression of its layers costs."
)
HOW_TO_READ_OWN_HEADS = (
    "Encoder and head were trained on the task together, and the model is scored with that head. "
    "Such a score is no property of a frozen encoder: it shares no column with the tables above, "
    "and nothing here is ranked. A score has its 95 % interval over speakers and its counts; it is "
    "of one training."
)
HOW_TO_COMPARE_LOSS = (
    "Heads are trained on clean speech; only the test sound changes. The condition above the main "
    "table puts every task's score under a set, a ladder or a single condition there, the absolute "
    "score first and the relative degradation beside it. The tables here have the mean lead over "
    "chance (of the tasks below the name of a condition that lacks others), and how far it moved "
    "from that of the same tasks on clean speech. The relative degradation of a row is the share "
    "of its lead over chance that a condition costs: 1 - (score - chance) / (clean score - "
    "chance). 0 is as good as on clean speech, 100 % no better than chance; chance is the best "
    "guess that ignores the sound. A row that does not beat chance on clean speech, beyond its "
    "interval, has none. A row without some of the tasks has no mean. A ladder is the mean over "
    "its severities; the curves and the sections of models have each of them."
)
