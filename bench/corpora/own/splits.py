"""Splits that the data does not give, and trials of speaker verification: seeded, by stated rules.

Every order is that of sha256 digests of the seed and a name, the same on every machine.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations

from bench.corpora.own.card import CLASS_TASKS, CardPlace, OwnTaskCard, SplitRule
from bench.corpora.own.layouts import read_text
from bench.corpora.own.rows import BadRow, DataRow, Listing
from bench.errors import InvalidDataError
from bench.sound.manifests import Trial

SPLITS = ("train", "dev", "test")
MAX_SHARE = 0.5  # of a speaker in dev or test
TARGET_WORDS = {"1": 1, "target": 1, "0": 0, "nontarget": 0}
DRAWS_PER_TRIAL = 1_000


def with_splits(rows: Sequence[DataRow], place: CardPlace) -> Listing:
    """Return rows that all have a split, and the rows that no split can take.

    Rows that the data gives a split keep it. A split that it gives to none is made of the rows
    without one, or else of those of train, by the card's rule.

    Raises:
        InvalidDataError: a split is missing and the card has no rule, or the rule cannot be met.
    """
    card, given = place.card, Counter(row.split for row in rows)
    missing = [split for split in SPLITS if not given[split]]
    notes = []
    if given[""] and len(given) > 1:
        bad = [BadRow(row.where, "no split, where other rows have one") for row in rows]
        unsplit = [b for b, row in zip(bad, rows, strict=True) if not row.split]
        return Listing([row for row in rows if row.split], unsplit)
    if missing:
        if card.splits is None:
            raise InvalidDataError(
                f"task {card.name}: no rows of {', '.join(missing)}; let the card say how they are "
                "made, as in splits: {by: speaker, seed: 0, dev: 0.1, test: 0.2}"
            )
        if missing != list(SPLITS) and "train" in missing:
            raise InvalidDataError(f"task {card.name}: no rows of train; splits are made of these")
        made = [name for name in ("dev", "test") if name in missing]
        source = "" if given[""] else "train"
        pool = [row for row in rows if row.split == source]
        split_of = _made(pool, card.splits, made, card.task)
        rows = [replace(row, split=split_of.get(row.id, row.split)) for row in rows]
        notes.append(
            f"{' and '.join(made)} made of {source or 'all'} rows by {card.splits.by}, seed "
            f"{card.splits.seed}"
        )
    listing = _in_train(rows) if card.task in CLASS_TASKS else Listing(list(rows))
    listing.notes += notes
    _check_size(listing, card.name, card.task)
    return listing


def _made(
    pool: Sequence[DataRow], rule: SplitRule, made: Sequence[str], task: str
) -> dict[str, str]:
    """Return the split of each row by id: one of `made`, or train."""
    shares = {name: getattr(rule, name) for name in made}
    if rule.by == "speaker":
        return _by_speaker(pool, rule.seed, shares, fewest=2 if task == "asv" else 1)
    groups = defaultdict(list)
    for row in pool:
        groups[row.target if task in CLASS_TASKS else ""].append(row.id)
    return {
        name: split
        for ids in groups.values()
        for name, split in _of_group(sorted(ids, key=_order(rule.seed)), shares).items()
    }


def _order(seed: int) -> Callable[[str], str]:
    """Return a sort key that gives names a random, fixed order."""
    return lambda name: hashlib.sha256(f"{seed}/{name}".encode()).hexdigest()


def _of_group(ids: Sequence[str], shares: dict[str, float]) -> dict[str, str]:
    """Return the split of the rows of one class: each split gets its share, train at least one."""
    splits: dict[str, str] = {}
    position = 0
    for name, share in sorted(shares.items(), reverse=True):  # test first: it needs rows most
        left = len(ids) - position - 1  # one stays in train
        count = min(left, max(1, round(share * len(ids))))
        splits |= dict.fromkeys(ids[position : position + count], name)
        position += count
    return splits | dict.fromkeys(ids[position:], "train")


def _by_speaker(
    pool: Sequence[DataRow], seed: int, shares: dict[str, float], *, fewest: int
) -> dict[str, str]:
    """Return the split of each row, all rows of a speaker in one.

    Raises:
        InvalidDataError: fewer speakers than the splits need.
    """
    sizes = Counter(row.speaker for row in pool)
    if len(sizes) < fewest * (len(shares) + 1):
        raise InvalidDataError(
            f"{len(sizes)} speaker(s), {fewest * (len(shares) + 1)} needed for splits by speaker, "
            f"{fewest} in each; let the card make splits by utterance, or give them in the data"
        )
    order = sorted(sizes, key=_order(seed))
    order.sort(
        key=lambda speaker: sizes[speaker] > MAX_SHARE * len(pool)
    )  # stable: large ones last
    split_of: dict[str, str] = {}
    for index, (name, share) in enumerate(sorted(shares.items(), reverse=True)):
        reserved = fewest * (len(shares) - index)  # for the splits after it
        count = taken = 0
        while len(order) > reserved and (count < fewest or taken < share * len(pool)):
            speaker = order.pop(0)
            split_of[speaker], taken, count = name, taken + sizes[speaker], count + 1
    return {row.id: split_of.get(row.speaker, "train") for row in pool}


def _in_train(rows: Sequence[DataRow]) -> Listing:
    """Return the rows whose labels occur in train; the others are bad."""
    labels = {row.target for row in rows if row.split == "train"}
    bad = [
        BadRow(row.where, f"{row.target!r} is in {row.split} and in no row of train")
        for row in rows
        if row.target not in labels
    ]
    return Listing([row for row in rows if row.target in labels], bad)


def _check_size(listing: Listing, name: str, task: str) -> None:
    """Refuse splits in which nothing can be learned or told apart.

    Raises:
        InvalidDataError: an empty split, or one class.
    """
    rows = listing.rows
    reason = "".join(f" ({bad.where}: {bad.what})" for bad in listing.bad[:1])
    for split in SPLITS:
        members = [row for row in rows if row.split == split]
        if not members:
            raise InvalidDataError(f"task {name}: no usable row of {split}{reason}")
        if task == "asv" and len({row.speaker for row in members}) < 2:
            raise InvalidDataError(f"task {name}: {split} has one speaker, at least 2 expected")
    train = {str(row.target) for row in rows if row.split == "train"}
    if task in (*CLASS_TASKS, "asv") and len(train) < 2:
        raise InvalidDataError(f"task {name}: one class ({min(train)!r}), at least 2 expected")


def describe(rows: Sequence[DataRow], card: OwnTaskCard) -> list[str]:
    """Return counts of rows by split, of classes and of speakers, as lines."""
    counts = Counter(row.split for row in rows)
    lines = [", ".join(f"{split}: {counts[split]} utterances" for split in SPLITS)]
    speakers = {row.speaker for row in rows} - {""}
    facts = [f"{len(speakers)} speakers" if speakers else "speakers unknown"]
    of_split = {split: {row.speaker for row in rows if row.split == split} for split in SPLITS}
    known = (of_split["test"] & of_split["train"]) - {""}
    if known and card.task != "sid":
        facts.append(f"{len(known)} of the {len(of_split['test'])} in test are also in train")
    if card.task in ("ks", "ic"):
        sizes = Counter(str(row.target) for row in rows).most_common()
        (large, most), (small, fewest) = sizes[0], sizes[-1]
        spread = f"{fewest} ({small}) to {most} ({large})" if fewest < most else most
        facts.append(f"{len(sizes)} classes of {spread} utterances")
    return [*lines, "; ".join(facts)]


def describe_repeats(rows: Sequence[DataRow], keys: Mapping[str, str]) -> list[str]:
    """Return a line for each pair of splits that share sounds: such a test hears nothing new.

    Args:
        rows: with splits.
        keys: digest of the samples of each row, by its clip.
    """
    ids = {
        split: {keys[row.clip]: row.id for row in rows if row.split == split} for split in SPLITS
    }
    lines = []
    for one, other in combinations(SPLITS, 2):
        if shared := sorted(ids[one].keys() & ids[other].keys()):
            example = f"{ids[one][shared[0]]} and {ids[other][shared[0]]}"
            count = f"{len(shared)} sound{'s are' if len(shared) > 1 else ' is'}"
            lines.append(f"the same sound: {count} in {one} and in {other}, such as {example}")
    return lines


def trials_of(rows: Sequence[DataRow], split: str, place: CardPlace) -> tuple[list[Trial], Listing]:
    """Return the trials of a split, as the card gives them or drawn, and its bad lines.

    Raises:
        MissingError: no such file of trials.
        InvalidDataError: no pair of one speaker, or no line that can be used.
    """
    card = place.card
    given = {} if isinstance(card.trials, int) else card.trials
    if split in given:
        return _given_trials(rows, given[split], place)
    count = card.trials if isinstance(card.trials, int) else 1_000
    rng = random.Random(f"{card.splits.seed if card.splits else 0}/{split}")
    trials = [*_drawn(rows, count, rng, same=True), *_drawn(rows, count, rng, same=False)]
    return trials, Listing()


def _drawn(rows: Sequence[DataRow], count: int, rng: random.Random, *, same: bool) -> list[Trial]:
    """Return pairs of one speaker, or of two, each once.

    Raises:
        InvalidDataError: there is no such pair.
    """
    of_speaker = defaultdict(list)
    for row in rows:
        of_speaker[row.speaker].append(row.id)
    groups = list(of_speaker.values())
    weights = [len(ids) * (len(ids) - 1) // 2 for ids in groups]
    possible = sum(weights) if same else len(rows) * (len(rows) - 1) // 2 - sum(weights)
    if not possible:
        raise InvalidDataError("asv: no speaker of a split has two utterances to compare")
    pairs: dict[tuple[str, str], None] = {}
    for _ in range(DRAWS_PER_TRIAL * count):
        if len(pairs) == min(count, possible):
            break
        if same:
            first, second = rng.sample(rng.choices(groups, weights)[0], 2)
        else:
            one, two = rng.choices(groups, [len(ids) for ids in groups], k=2)
            if one is two:
                continue
            first, second = rng.choice(one), rng.choice(two)
        pairs[min(first, second), max(first, second)] = None
    return [Trial(int(same), first, second) for first, second in pairs]


def _given_trials(
    rows: Sequence[DataRow], file: str, place: CardPlace
) -> tuple[list[Trial], Listing]:
    """Return the trials of a file of lines `1 ID ID` or `ID ID target`."""
    root = place.path(place.card.data)
    path = (root if root.is_dir() else root.parent) / file
    by_id = {row.id: row for row in rows}
    trials, listing = [], Listing()
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        words = line.split()
        if not words:
            continue
        words = [words[-1], *words[:-1]] if words[0] not in TARGET_WORDS else words
        label = TARGET_WORDS.get(words[0])
        problem = ""
        if label is None or len(words) != 3:
            problem = f"{line[:80]!r}: expected '1 ID ID', '0 ID ID' or 'ID ID target'"
        elif unknown := [name for name in words[1:] if name not in by_id]:
            problem = f"{unknown[0]!r} is no usable utterance of this split"
        elif (by_id[words[1]].speaker == by_id[words[2]].speaker) != bool(label):
            problem = f"label {words[0]} contradicts the speakers"
        if problem or label is None:
            listing.bad.append(BadRow(f"{path.name}:{number}", problem))
        else:
            trials.append(Trial(label, words[1], words[2]))
    if len({trial.label for trial in trials}) < 2 and not listing.bad:
        raise InvalidDataError(f"{path}: trials of one speaker and of two expected")
    return trials, listing
