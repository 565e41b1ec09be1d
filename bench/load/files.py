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
from bench.load import catalog
from bench.load.catalog import OUR_LOADERS, Entry
from bench.load.downloads import (
    HUB_PATTERNS,
    announced_file,
    fetch_file,
    fetch_repository,
)
from bench.paths import check_file, file_sha256, home, user_path, weights_format
from bench.registry import ROOT
from bench.session import Session

FOLDER_VARIABLE = "SLIM_SUPERB_WEIGHTS"
SHIPPED = ROOT / "upstreams" / "weights"
MAX_FOLDER_FILES = 10_000
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)


class WeightsFile(NamedTuple):
    """A file of weights.

    Attributes:
        path: of the file.
        sha256: digest of its content.
        is_vouched: the card pins that digest, or the server announced it: the authors' file.
    """

    path: Path
    sha256: str
    is_vouched: bool = False


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


def find_files(entry: Entry, session: Session) -> UpstreamFiles:
    """Find, fetch and verify the files of an upstream.

    Args:
        entry: the upstream.
        session: gives `weights` and `strict`.

    Raises:
        UsageError: a file of weights, or `+untrained`, for an upstream that takes none.
        MissingError: the files cannot be reached, and no control may take their place.
        InvalidDataError: a file of weights with another digest than the card's.
    """
    name, card = entry.name, entry.card
    untrained = name.untrained_seed is not None
    place = find_place(card.source, entry.folder) if card.source else None
    is_s3prl = (card.source or "").startswith("s3prl:")
    if session.weights is not None and (untrained or not (card.checkpoint or is_s3prl)):
        raise UsageError(f"upstream {name.text()!r} takes no file of weights")
    if untrained and card.load is not None and card.checkpoint is None:
        raise UsageError(f"upstream {name.text()!r}: {card.name} has no weights to leave untrained")
    if session.weights is not None and card.checkpoint is None:
        check_file(session.weights, f"file of weights for {card.name}")
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
    """Return three lines: how to get the weights, what to use meanwhile, and what runs now."""
    cards = map(catalog.upstream_card, catalog.upstream_names())
    here = [one for one in cards if one.checkpoint and path_on_disk(one, None, catalog.CARDS)]
    family = ", ".join(other.name for other in here if other.family == card.family)
    instead = f"trained encoders of its family ({card.family}) that are here: {family}"
    if not family:
        others = ", ".join(other.name for other in here) or "none"
        instead = f"no trained encoder of its family ({card.family}) is here; of others: {others}"
    return (
        f"{error}\n{instead}\n"
        f"UNTRAINED CONTROL: going on with random weights, recorded as {control!r}; --strict "
        f"(make: STRICT=1) stops here instead"
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
    path = (folder / user_path(text)).resolve()
    if kind == "hf":
        if not path.exists() and _REPOSITORY.fullmatch(text):
            path = fetch_repository(text)
        return ModelPlace(str(path), _folder_sha256(path, source))
    if not path.is_file():
        actual = "a folder" if path.is_dir() else "nothing"
        raise MissingError(f"{source}: expected a file, found {actual} at {path}")
    return ModelPlace(str(path), file_sha256(path))


def _folder_sha256(path: Path, source: str) -> str:
    """Digest the names and contents of a folder's configuration and weights."""
    if path.is_file():
        raise UsageError(f"{source}: expected a Transformers folder, found a file")
    if not path.is_dir():
        raise MissingError(f"{source}: no such folder, and not ORG/MODEL on the hub")
    if not (path / "config.json").is_file():
        hint = ""
        if (path / "adapter_config.json").exists():
            hint = ": it holds a PEFT adapter without its base model"
        elif inner := min(path.glob("**/config.json"), default=None):  # of a trainer or a cache
            hint = f": name a folder in it that has one, such as hf:{inner.parent}"
        raise InvalidDataError(f"{source}: the folder has no config.json{hint}")
    names = sorted(
        item.name for pattern in HUB_PATTERNS for item in path.glob(pattern) if item.is_file()
    )
    if len(names) > MAX_FOLDER_FILES:
        raise InvalidDataError(f"{source}: the folder has {len(names)} files")
    digest = hashlib.sha256()
    for name in names:
        if not name.endswith(".json"):
            weights_format(path / name)  # refuses at once what would take long to read
        digest.update(f"{name} {file_sha256(path / name)}\n".encode())
    return digest.hexdigest()


def find_checkpoint(
    card: UpstreamCard, weights: Path | None = None, beside: Path | None = None
) -> WeightsFile:
    """Find or download the card's file of weights, and compare its digest with the card's.

    Where the card pins none, it is compared with the digest that the server announced. A download
    with a wrong digest is removed, so that a retry can help.

    Args:
        card: an upstream with a `checkpoint`.
        weights: a file given by the user; nothing else is looked at.
        beside: the card's folder, where a file without another source lies.

    Raises:
        MissingError: the file cannot be reached.
        UsageError: `SLIM_SUPERB_WEIGHTS` names no folder.
        InvalidDataError: no file of weights, or the digest is not the expected one.
    """
    assert card.checkpoint is not None  # callers ask for weights only where a card has some
    source, on_disk = card.checkpoint, path_on_disk(card, weights, beside)
    path = on_disk or _download(card, source)
    if on_disk and (card.load or "").startswith(OUR_LOADERS):  # others may read other formats
        weights_format(path)
    sha256 = file_sha256(path)
    if sha256 in source.vouched:
        return WeightsFile(path, sha256, is_vouched=True)
    announced, expected = announced_file(path), source.sha256
    if expected is None and announced.is_file():
        expected = announced.read_text(encoding="utf-8").strip()
    if expected is None or sha256 == expected:
        return WeightsFile(path, sha256, is_vouched=expected is not None)
    size, whole = path.stat().st_size, source.size_bytes
    if on_disk is None:
        path.unlink()
        announced.unlink(missing_ok=True)
    sizes = f" ({size:,} of {whole:,} bytes)" if whole is not None and size != whole else ""
    advice = "remove it and fetch it again"
    if weights is not None:
        advice = "weights of your own need a card of their own (docs/own-model.md)"
    raise InvalidDataError(
        f"{path}: sha256 {sha256[:16]}…, expected {expected[:16]}… of {card.name}: the file is "
        f"truncated, corrupt or another one{sizes}; {advice}"
    )


def path_on_disk(card: UpstreamCard, weights: Path | None, beside: Path | None) -> Path | None:
    """Return the path of the card's file of weights, in the order of search; None: download it."""
    assert card.checkpoint is not None  # as in find_checkpoint
    source = card.checkpoint
    path = weights or ((beside or Path()) / source.file if source.is_local else None)
    if path is not None:
        check_file(path, f"file of weights for {card.name}")
        return path
    roots = [SHIPPED, _folder(card)] if source.shipped else [_folder(card)]
    variable = os.environ.get(FOLDER_VARIABLE)
    if variable:
        base = user_path(variable)
        if not base.is_dir():
            raise UsageError(f"{FOLDER_VARIABLE}={variable}: no such folder")
        roots = [base / card.name, base, *roots]
    return next((path for root in roots if (path := root / source.file).is_file()), None)


def _download(card: UpstreamCard, source: Checkpoint) -> Path:
    """Download the card's file of weights.

    Raises:
        MissingError: the file cannot be reached, or lies nowhere to be downloaded from.
        InvalidDataError: the download broke off.
    """
    advice = how_to_supply(card)
    path = fetch_file(card.name, source, _folder(card), advice)
    if path is not None:
        return path
    reason = f"{card.name}: the weights are behind a web page and cannot be fetched"
    if source.shipped:
        path = SHIPPED / source.file
        reason = f"{path}: no such file (an installed wheel holds few of the weights)"
    elif source.made_by is not None:
        reason = f"{card.name}: the repository does not hold its weights"
    raise MissingError(f"{reason}; {advice}")


def how_to_supply(card: UpstreamCard) -> str:
    """Return one line of advice about weights that cannot be reached."""
    assert card.checkpoint is not None  # as in find_checkpoint
    source = card.checkpoint
    if source.is_local:
        return f"put {source.file} beside the card, or give it with --weights path"
    if source.made_by is not None:
        where = "(eval --card, compress --teacher-card)"
        return f"train it again and give the card that this writes {where}: {source.made_by}"
    origin = f"the wheel {source.wheel}"
    if source.hub is not None:
        origin = f"https://huggingface.co/{source.hub}/resolve/{source.revision}/{source.file}"
    origin = source.page or origin
    if source.shipped:
        origin = "a complete checkout of this repository (upstreams/weights)"
    size = "" if source.megabytes is None else f"{source.megabytes:,.0f} MB"
    digest = f"sha256 {source.sha256}" if source.sha256 else ""
    facts = ", ".join(filter(None, [size, digest]))
    training = ", or train it again with the 'slim-superb compress' command in its card's notes"
    return (
        f"get {source.file}{f' ({facts})' if facts else ''} from {origin} and put it into "
        f"{_folder(card)} or the folder that {FOLDER_VARIABLE} names, or give it with "
        f"--weights FILE (make: WEIGHTS=FILE){training if source.shipped else ''}"
    )


def _folder(card: UpstreamCard) -> Path:
    """Return the cache folder of a card's weights."""
    return home() / "weights" / card.name
