"""The real corpus: splits, trials, targets, and the committed digests of its tables.

`python tests/corpora/test_corpus_games.py` writes the digests again after an intended change.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path

import pytest

from bench import paths
from bench.corpora.embedded import games
from bench.sound.manifests import read_table, read_trials
from tools.corpus import keywords, labels, words
from tools.corpus.splits import DEV, TEST, look_alike

DIGESTS = Path(__file__).with_name("corpus_games.json")
SPLITS = ("train", "dev", "test", "ood")
UNSEEN = [
    f"{track}/{task}" for track in ("open", "quick") for task in ("asr", "ks", "asv", "ic", "slu")
]

pytestmark = pytest.mark.corpus


@pytest.fixture(scope="module")
def corpus() -> Path:
    return games.prepare(paths.home())


def names(corpus: Path) -> list[str]:
    tables = corpus / "tables"
    found = (path.relative_to(tables).with_suffix("") for path in tables.rglob("*.parquet"))
    return sorted(path.as_posix() for path in found if path.suffix != ".trials")


def digest(corpus: Path, name: str) -> str:
    """Return the digest of a table without its samples: their rounding differs by machine."""
    fields = [
        [row.id, row.start, row.num_samples, row.speaker, row.source, row.target]
        + ([row.part] if row.part else [])
        for row in read_table(corpus, name)
    ]
    content = json.dumps([fields, read_trials(corpus, name)], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def test_is_the_committed_corpus(corpus) -> None:
    committed = json.loads(DIGESTS.read_text())
    assert {name: digest(corpus, name) for name in names(corpus)} == committed


def test_is_whole(corpus) -> None:
    assert games.validate(corpus) == []
    assert games.status(paths.home()).prepared


def test_a_part_is_a_part_of_the_whole(corpus, tmp_path) -> None:
    """The tables of one task, in another home, from the packages alone."""
    wanted = ["quick/words/dev", "quick/words/ood"]
    part = games.prepare(tmp_path, deb_dir=paths.home() / "packages", tables=wanted)
    assert names(part) == wanted
    assert 50 < len(list((part / "audio").iterdir())) < 500  # of 5,289
    for path in (*part.rglob("*.wav"), *part.rglob("*.parquet")):
        assert path.read_bytes() == (corpus / path.relative_to(part)).read_bytes()


def table(task: str, split: str) -> str:
    """Where a split is: some tests are the same on both tracks."""
    shared = split == "test" and task in ("quick/asv", "quick/ic", "quick/sid")
    return f"{task.replace('quick', 'open') if shared else task}/{split}"


@pytest.mark.parametrize("task", UNSEEN)
def test_speakers_are_on_one_side(corpus, task) -> None:
    sides = {
        split: {row.speaker for row in read_table(corpus, table(task, split))} for split in SPLITS
    }
    assert sides["dev"] <= DEV
    assert sides["test"] <= TEST
    assert all(speaker.startswith("DR-") for speaker in sides["ood"])
    assert not sides["train"] & (DEV | TEST)


@pytest.mark.parametrize("track", ["open", "quick"])
def test_sid_is_a_closed_set(corpus, track) -> None:
    rows = {split: read_table(corpus, table(f"{track}/sid", split)) for split in SPLITS[:3]}
    speakers = [{row.target for row in rows[split]} for split in rows]
    assert speakers[0] == speakers[1] == speakers[2]
    ids = [row.id for split in rows for row in rows[split]]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize(
    "name",
    ["open/asv/dev", "open/asv/test", "open/asv/ood", "quick/asv/dev", "quick/asv/ood"],
)
def test_trials(corpus, name) -> None:
    rows = {row.id: row for row in read_table(corpus, name)}
    trials = read_trials(corpus, name)
    assert sum(trial.label for trial in trials) * 2 == len(trials) > 100
    pairs = {tuple(sorted((trial.enrolment, trial.test))) for trial in trials}
    assert len(pairs) == len(trials)
    for trial in trials:
        one, two = rows[trial.enrolment], rows[trial.test]
        assert (one.speaker == two.speaker) == bool(trial.label)
        assert one.source == two.source
        assert not look_alike(one.speaker, two.speaker)
        assert min(one.num_samples, two.num_samples) >= 24_000


@pytest.mark.parametrize("track", ["open", "quick"])
def test_targets(corpus, track) -> None:
    known = {keywords.UNKNOWN, keywords.SILENCE, *keywords.KEYWORDS}
    slots = {
        tuple(slot) for row in read_table(corpus, "open/slu/train") for slot in row.target["slots"]
    }
    for split in SPLITS:
        windows = read_table(corpus, f"{track}/ks/{split}")
        assert {row.target for row in windows} <= known
        assert all(1_600 <= row.num_samples <= 16_000 for row in windows)
        for row in read_table(corpus, f"{track}/slu/{split}"):
            assert row.target["slots"] == labels.slots(row.target["text"])
            assert row.target["slots"]
            assert {tuple(slot) for slot in row.target["slots"]} <= slots
    for task in ("ks", "ic", "sid"):
        trained = {row.target for row in read_table(corpus, f"{track}/{task}/train")}
        tested = {row.target for row in read_table(corpus, table(f"{track}/{task}", "test"))}
        assert tested <= trained


@pytest.mark.parametrize("name", ["open/words/dev", "open/words/test", "open/words/ood"])
def test_words_are_parts_of_their_lines(corpus, name) -> None:
    rows = read_table(corpus, name)
    lines = {row.id: row for row in read_table(corpus, name.replace("words", "asr"))}
    counts = Counter(row.speaker for row in rows)
    assert max(counts.values()) <= words.TOKENS_OF_SPEAKER["open"]
    for row in rows:
        assert row.part is not None and 2_400 <= row.part[1] <= 16_000
    parts = [(row, *row.id.split("#")) for row in rows]
    of_lines = [(row, lines[line], int(number)) for row, line, number in parts if line in lines]
    assert len(of_lines) > 0.9 * len(rows)  # the shortest lines are no utterances of ASR
    for row, line, number in of_lines:
        assert row.target == line.target.split()[number]
        assert (row.key, row.num_samples) == (line.key, line.num_samples)


def test_quick_is_a_part_of_open(corpus) -> None:
    for name in names(corpus):
        if name.startswith("quick/"):
            part = {row.id for row in read_table(corpus, name)}
            assert part <= {row.id for row in read_table(corpus, f"open/{name[6:]}")}, name


def test_unlabelled_is_never_tested(corpus) -> None:
    held_out = {
        row.path
        for name in names(corpus)
        if not name.endswith("/train")
        for row in read_table(corpus, name)
    }
    rows = read_table(corpus, "unlabelled/train")
    assert not {row.path for row in rows} & held_out
    assert not {row.speaker for row in rows} & (DEV | TEST)
    assert all(row.num_samples >= 11_200 and row.target is None for row in rows)


if __name__ == "__main__":
    prepared = games.prepare(paths.home())
    found = {name: digest(prepared, name) for name in names(prepared)}
    DIGESTS.write_text(json.dumps(found, indent=1) + "\n")
