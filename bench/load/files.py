"""Find the files of an upstream: its card's file of weights, or the model that `KIND:PLACE` names.

A file of weights is looked for in this order: `--weights`, the folder in `SLIM_SUPERB_WEIGHTS`, the
project's `upstreams/weights`, the cache, a download. A file with a wrong digest is an error; only a
file that cannot be reached is a `MissingError`.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import NamedTuple

from bench.config import Checkpoint, UpstreamCard
from bench.errors import InvalidDataError, MissingError, UsageError
from bench.load.catalog import Entry
from bench.load.downloads import (
    HUB_PATTERNS,
    WeightsFile,
    fetch_repository,
    file_sha256,
    from_hub,
    from_wheel,
    verified,
)
from bench.names import UpstreamName
from bench.paths import home
from bench.registry import ROOT
from bench.session import Session

FOLDER_VARIABLE = "SLIM_SUPERB_WEIGHTS"
SHIPPED = ROOT / "upstreams" / "weights"
MAX_FOLDER_FILES = 10_000
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)


class ModelPlace(NamedTuple):
    """The place of a model that a card's `source` names.

    Attributes:
        text: a file, a folder, or s3prl's name of an upstream.
        sha256: digest of its content; None for a name.
    """

    text: str
    sha256: str | None


class UpstreamFiles(NamedTuple):
    """The files of an upstream.

    Attributes:
        place: of a card with `source`, else None.
        weights: the file of weights; None where there is none or random weights are loaded.
        warning: a text for the user where the weights cannot be reached: random weights take their
            place.
    """

    place: ModelPlace | None
    weights: WeightsFile | None
    warning: str | None = None

    @property
    def digests(self) -> list[str]:
        """The digests of all files."""
        return [file.sha256 for file in (self.place, self.weights) if file and file.sha256]

    @property
    def sha256(self) -> str | None:
        """Digest of the weights, or of the model that holds them."""
        return self.digests[-1] if self.digests else None


def find_files(name: UpstreamName, entry: Entry, session: Session) -> UpstreamFiles:
    """Find, fetch and verify the files of an upstream.

    Args:
        name: of the upstream.
        entry: its card.
        session: gives `weights` and `strict`.

    Raises:
        UsageError: a file of weights, or `+untrained`, for an upstream that takes none.
        MissingError: the files cannot be reached, and no control may take their place.
        InvalidDataError: a file of weights with another digest than the card's.
    """
    card, untrained = entry.card, name.untrained_seed is not None
    place = find_place(card.source, entry.folder) if card.source else None
    is_s3prl = (card.source or "").startswith("s3prl:")
    if session.weights is not None and (untrained or not (card.checkpoint or is_s3prl)):
        raise UsageError(f"upstream {name.text()!r} takes no file of weights")
    if untrained and card.load is not None and card.checkpoint is None:
        raise UsageError(f"upstream {name.text()!r}: {card.name} has no weights to leave untrained")
    if session.weights is not None and card.checkpoint is None:
        if not session.weights.is_file():
            raise MissingError(f"{session.weights}: no such file of weights for {card.name}")
        return UpstreamFiles(place, WeightsFile(session.weights, file_sha256(session.weights)))
    if card.checkpoint is None or untrained:
        return UpstreamFiles(place, None)
    try:
        return UpstreamFiles(place, find_checkpoint(card, session.weights, entry.folder))
    except MissingError as error:
        if session.strict or session.weights is not None or not entry.ours:
            raise
        return UpstreamFiles(place, None, _warning(card, name.untrained().text(), error))


def _warning(card: UpstreamCard, control: str, error: MissingError) -> str:
    """Return a text that nobody can miss: the control that runs, the reason, and the remedy."""
    bar, advice = "!" * 78, how_to_supply(card)
    reason = str(error).removesuffix(f"; {advice}")
    return (
        f"{bar}\n"
        f"!! UNTRAINED: {card.name} runs with RANDOM weights, recorded as {control!r}.\n"
        f"!! The results are those of a control, not of the published model.\n"
        f"!! Why: {reason}.\n"
        f"!! To get the published model: {advice}.\n"
        f"!! With --strict this is an error.\n"
        f"{bar}"
    )


def find_place(source: str, folder: Path) -> ModelPlace:
    """Find the model that `KIND:PLACE` names, and digest it.

    Args:
        source: as in a card or on the command line.
        folder: base of a relative place.

    Raises:
        MissingError: no such file, folder or repository.
        UsageError: a file where a folder is expected.
        InvalidDataError: a folder without a model, or with too many files.
    """
    kind, _, text = source.partition(":")
    if kind == "s3prl":
        return ModelPlace(text, None)
    path = (folder / Path(text).expanduser()).resolve()
    if kind == "hf":
        if not path.exists() and _REPOSITORY.fullmatch(text):
            path = fetch_repository(text)
        return ModelPlace(str(path), _folder_sha256(path, source))
    if not path.is_file():
        actual = "a folder" if path.is_dir() else "nothing"
        raise MissingError(f"{source}: expected a file, found {actual} at {path}")
    return ModelPlace(str(path), file_sha256(path))


def _folder_sha256(path: Path, source: str) -> str:
    """Digest the names and contents of a folder's configuration and weights.

    Raises:
        MissingError: no such folder.
        UsageError: a file.
        InvalidDataError: no `config.json`, or too many files.
    """
    if path.is_file():
        raise UsageError(f"{source}: expected a Transformers folder, found a file")
    if not path.is_dir():
        raise MissingError(f"{source}: no such folder, and not ORG/MODEL on the hub")
    if not (path / "config.json").is_file():
        raise InvalidDataError(f"{source}: the folder has no config.json")
    names = sorted(
        item.name for pattern in HUB_PATTERNS for item in path.glob(pattern) if item.is_file()
    )
    if len(names) > MAX_FOLDER_FILES:
        raise InvalidDataError(f"{source}: the folder has {len(names)} files")
    digest = hashlib.sha256()
    for name in names:
        digest.update(f"{name} {file_sha256(path / name)}\n".encode())
    return digest.hexdigest()


def find_checkpoint(
    card: UpstreamCard, weights: Path | None = None, beside: Path | None = None
) -> WeightsFile:
    """Find or download the card's file of weights, and verify it.

    Args:
        card: an upstream with a `checkpoint`.
        weights: a file given by the user; nothing else is looked at.
        beside: the card's folder, where a file without another source lies.

    Raises:
        MissingError: the file cannot be reached.
        UsageError: `SLIM_SUPERB_WEIGHTS` names no folder.
        InvalidDataError: the digest is not the one the card pins or the server announced.
    """
    assert card.checkpoint is not None  # callers ask for weights only where a card has some
    source, advice = card.checkpoint, how_to_supply(card)
    if weights is not None:
        if not weights.is_file():
            raise MissingError(f"{weights}: no such file of weights for {card.name}")
        return verified(weights, source)
    if source.is_local:
        path = (beside or Path()) / source.file
        if not path.is_file():
            raise MissingError(f"{card.name}: {path}: no such file of weights; its card names it")
        return verified(path, source)
    for path in _candidates(card, source):
        if path.is_file():
            return verified(path, source)
    if source.shipped:
        raise MissingError(
            f"{SHIPPED / source.file}: no such file (an installed wheel holds few of the weights); "
            f"{advice}"
        )
    if source.made_by is not None:
        raise MissingError(f"{card.name}: the repository does not hold its weights; {advice}")
    if source.hub is not None:
        return from_hub(card.name, source, _folder(card), advice)
    if source.wheel is not None:
        return from_wheel(card.name, source, _folder(card), advice)
    raise MissingError(
        f"{card.name}: the weights are behind a web page and cannot be fetched; {advice}"
    )


def how_to_supply(card: UpstreamCard) -> str:
    """Return one line of advice about weights that cannot be reached."""
    assert card.checkpoint is not None  # as in find_checkpoint
    source = card.checkpoint
    if source.is_local:
        return f"put {source.file} beside the card, or give it with --weights path"
    if source.made_by is not None:
        return f"train it again and evaluate the card that this writes: {source.made_by}"
    origin = f"https://huggingface.co/{source.hub}" if source.hub else f"the wheel {source.wheel}"
    origin = source.page or origin
    if source.shipped:
        origin = "a complete checkout of this repository (upstreams/weights)"
    size = "" if source.megabytes is None else f" ({source.megabytes:,.0f} MB)"
    training = ", or train it again with the 'slim-superb compress' command in its card's notes"
    return (
        f"get {source.file}{size} from {origin} and give it with WEIGHTS=path (--weights path), "
        f"put it into the folder that {FOLDER_VARIABLE} names, or into {_folder(card)}"
        f"{training if source.shipped else ''}"
    )


def _folder(card: UpstreamCard) -> Path:
    """Return the cache folder of a card's weights."""
    return home() / "weights" / card.name


def _candidates(card: UpstreamCard, source: Checkpoint) -> list[Path]:
    """Return the paths where the file may already lie, in the order of search.

    Raises:
        UsageError: `SLIM_SUPERB_WEIGHTS` names no folder.
    """
    variable = os.environ.get(FOLDER_VARIABLE)
    roots = []
    if variable:
        base = Path(variable).expanduser()
        if not base.is_dir():
            raise UsageError(f"{FOLDER_VARIABLE}={variable}: no such folder")
        roots = [base / card.name, base]
    roots += [SHIPPED, _folder(card)] if source.shipped else [_folder(card)]
    return [root / source.file for root in roots]
