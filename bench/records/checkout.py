"""The state of a git checkout."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


def git(folder: Path, *arguments: str) -> str | None:
    """Return the output of a git command in a folder; None where git fails or is missing."""
    # Variables such as GIT_DIR, which git sets for its hooks, name another repository.
    environment = {name: text for name, text in os.environ.items() if not name.startswith("GIT_")}
    environment["GIT_OPTIONAL_LOCKS"] = "0"
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            check=True,
            env=environment,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def checkout_state(folder: Path) -> tuple[str | None, bool | None]:
    """Return the commit of a checkout and whether files differ from it.

    Args:
        folder: top folder of the checkout. For any other folder both are None: an environment may
            lie inside the checkout of another project.
    """
    if git(folder, "rev-parse", "--show-prefix") != "":
        return None, None
    commit = git(folder, "rev-parse", "HEAD")
    return commit, None if commit is None else bool(git(folder, "status", "--porcelain"))
