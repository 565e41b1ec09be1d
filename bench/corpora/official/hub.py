"""A corpus from the Hugging Face hub, written into the layout of its official folder.

`--data hf:NAME` in place of a folder. The files are the hub's own bytes, so that what is prepared
from them is what the official archives give. Only corpora whose layout says how are known.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bench.corpora.official.layout import Layout
from bench.errors import InvalidDataError, MissingError, UsageError
from bench.paths import disk_errors
from bench.progress import bar

PREFIX = "hf:"


def is_hub(data: Path) -> bool:
    """Whether `--data` names a data set of the hub."""
    return str(data).startswith(PREFIX)


def export(layout: Layout, data: Path, home: Path) -> Path:
    """Write a data set into an official folder, split by split; those that are there are kept.

    Args:
        layout: of the corpus.
        data: `hf:NAME`, or `hf:` and a local folder that `datasets` reads.
        home: where the folder is made.

    Returns:
        the folder, as `--data` takes it.

    Raises:
        UsageError: no way is known from the hub to this corpus.
        MissingError: the hub does not answer, or has no such data set or split.
        InvalidDataError: rows that are not as expected.
    """
    if layout.from_hub is None:
        raise UsageError(
            f"--data {data}: {layout.title} cannot be made from the hub: name its folder. "
            f"{layout.about}"
        )
    name = str(data).removeprefix(PREFIX)
    made = home / "hub" / layout.name
    for target, (config, split) in layout.from_hub.splits.items():
        if (made / target).exists():
            continue
        part = made / f"{target}.part"
        shutil.rmtree(part, ignore_errors=True)
        with disk_errors(made):
            part.mkdir(parents=True)
            try:
                layout.from_hub.write(part, _rows(name, config, split))
            except (KeyError, TypeError) as error:
                raise InvalidDataError(
                    f"{data}, {config} {split}: not the columns expected of {layout.title} "
                    f"({type(error).__name__}: {error})"
                ) from error
            part.replace(made / target)
    return made


def _rows(name: str, config: str, split: str) -> Iterator[Mapping[str, Any]]:
    """The rows of one split, sound as the bytes of its file.

    Raises:
        MissingError: as `export`.
    """
    import datasets

    datasets.disable_progress_bars()
    try:
        found = datasets.load_dataset(name, config, split=split)
    except Exception as error:  # the hub's client has no common base class of errors
        reason = " ".join(str(error).split())[:200]
        raise MissingError(
            f"hf:{name}, {config} {split}: cannot be had from the hub ({reason})"
        ) from error
    found = found.cast_column("audio", datasets.Audio(decode=False))
    with bar(total=len(found), label=f"{config} {split}", unit="utterances") as progress:
        for row in found:
            yield row
            progress.update(1)
