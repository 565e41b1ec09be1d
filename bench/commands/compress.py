"""`slim-superb compress`: make a compressed upstream by a recipe."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from bench.paths import home
from bench.progress import show

if TYPE_CHECKING:
    from bench.make.compress import CompressionRequest

GROUP = "make"
HELP = "Train a teacher or a compressed upstream by a recipe, or continue an interrupted run."
EXAMPLE = "slim-superb compress house_whisper_fbank --data games:unlabelled/train --hours 2"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("recipe", help="name (see 'list recipes'), or your own YAML file")
    parser.add_argument("--teacher", help="upstream to use as teacher instead of the recipe's")
    parser.add_argument(
        "--teacher-card", type=Path, help="your own card of a teacher, such as an earlier run's"
    )
    parser.add_argument("--teacher-weights", type=Path, help="file of the teacher's weights")
    parser.add_argument(
        "--data",
        help="CORPUS:TABLE, a folder of audio, or a pattern; for recipes that train for a task, "
        "the folder of its corpora",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="another value of a key of the recipe, such as config.sparsity=0.6; may be repeated",
    )
    parser.add_argument(
        "--noise-dir", type=Path, help="folder of noise corpora, for recipes that name them"
    )
    parser.add_argument("--seed", type=int, default=0, help="of all random draws (default 0)")
    parser.add_argument(
        "--device", choices=["cpu", "cuda"], default="cpu", help="of the training (default cpu)"
    )
    parser.add_argument(
        "--hours", type=float, help="hours of audio to present instead of the recipe's"
    )
    parser.add_argument(
        "--max-updates", type=int, help="length of the run in updates instead of the recipe's"
    )
    parser.add_argument(
        "--accumulate",
        type=int,
        help="parts of a batch that a device passes in turn for an update (less memory)",
    )
    parser.add_argument(
        "--processes",
        type=int,
        default=1,
        help="of this machine that share the training, one a GPU with --device cuda (default 1); "
        "for several machines start 'torchrun ... -m bench compress ...' on each",
    )
    parser.add_argument(
        "--loaders",
        type=int,
        help="processes that read and distort sound ahead of the training (0: none)",
    )
    parser.add_argument(
        "--threads", type=int, help="of the CPU in training; another number gives other last bits"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="make a few updates and estimate the duration"
    )
    parser.add_argument("--name", help="of the new upstream (default RECIPE-sSEED)")
    parser.add_argument("--out", type=Path, help="folder of the run (default runs/compress/NAME)")


def run(options: argparse.Namespace) -> int:
    """Train and export."""
    from bench import stopping
    from bench.errors import UsageError
    from bench.make.compress import CompressionRequest

    if options.processes != 1 and _num_processes() == 1:
        return _launch(options.processes)
    stopping.install()
    if options.hours is not None and options.max_updates is not None:
        raise UsageError("--hours and --max-updates both give the length of the run: give one")
    given = {
        "hours": options.hours,
        "updates": options.max_updates,
        "threads": options.threads,
        "accumulate": options.accumulate,
        "loaders": options.loaders,
    }
    overrides = {key: value for key, value in given.items() if value is not None}
    request = CompressionRequest(
        recipe=options.recipe,
        name=options.name,
        out=options.out,
        teacher=options.teacher,
        teacher_card=options.teacher_card,
        teacher_weights=options.teacher_weights,
        data=options.data,
        noise_dir=options.noise_dir,
        settings=dict(map(_setting, options.set)),
        seed=options.seed,
        device=options.device,
        overrides=overrides,
        dry_run=options.dry_run,
    )
    path = _compress(request)
    if path is None:
        return 0
    show(
        f"card: {path}",
        f"weights: {path.with_suffix('.safetensors')}",
        f"next: slim-superb eval --card {path} ks",
    )
    return 0


def _launch(processes: int) -> int:
    """Start this command in several processes by torch's launcher; return the exit status.

    The process that fails first writes its line; the launcher ends the others and is silent.

    Raises:
        UsageError: fewer than one process.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    from bench.errors import UsageError

    if processes < 1:
        raise UsageError(f"--processes {processes}: expected 1 or more")
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # as torchrun does
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # else a warning of each process
    for part in ("", ".agent.server.api"):  # the second has a level of its own
        logging.getLogger(f"torch.distributed.elastic{part}").setLevel(logging.CRITICAL)
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=str(os.getpid()),
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        monitor_interval=0.1,
    )
    try:
        elastic_launch(config, sys.executable)("-m", "bench", *sys.argv[1:])
    except ChildFailedError as error:
        codes = [failure.exitcode for failure in error.failures.values()]
        return next((code for code in codes if code > 1), 1)
    except SignalException as error:  # the processes got the signal too, and saved
        return 128 + int(error.sigval)
    return 0


def _num_processes() -> int:
    """Return the number of processes that share the training, from the variables of torchrun.

    Raises:
        UsageError: a number of processes without torchrun's other variables.
    """
    from bench.errors import UsageError

    values = {name: os.environ.get(name, "") for name in ("WORLD_SIZE", "RANK", "MASTER_PORT")}
    if values["WORLD_SIZE"] in ("", "1"):
        return 1
    if not all(value.isdecimal() for value in values.values()) or "MASTER_ADDR" not in os.environ:
        given = ", ".join(f"{name}={value}" for name, value in values.items())
        raise UsageError(
            f"the environment has {given}, but torchrun sets numbers for all, and MASTER_ADDR: "
            f"start with torchrun or --processes, or unset WORLD_SIZE"
        )
    return int(values["WORLD_SIZE"])


def _compress(request: CompressionRequest) -> Path | None:
    """Run a recipe; of several processes (torchrun), the first writes and one shows an error.

    Each process stops with its error or because another stopped. Which of them shows it is decided
    by a file of the launch: the first to make it.
    """
    from bench.errors import MissingError, UserError
    from bench.make.compress import compress
    from bench.progress import SILENT, set_level

    if _num_processes() == 1:
        return compress(request, home())
    if os.environ["RANK"] != "0":
        set_level(SILENT)
    launch = os.environ.get("TORCHELASTIC_RUN_ID", "") + os.environ["MASTER_PORT"]
    mark = Path(tempfile.gettempdir()) / f"slim-superb-{launch}-{os.getppid()}.error"
    try:
        path = compress(request, home())
        return path if os.environ["RANK"] == "0" else None
    except (UserError, RuntimeError) as error:
        try:
            mark.touch(exist_ok=False)
        except FileExistsError:
            raise SystemExit(1) from None
        if isinstance(error, UserError):
            raise
        raise MissingError(f"another process of this training stopped: {error}") from error


def _setting(text: str) -> tuple[str, object]:
    """Return key and value of `KEY=VALUE`; the value is read as YAML.

    Raises:
        UsageError: no `=`, or a value that is no YAML.
    """
    import yaml

    from bench.errors import UsageError

    key, equals, value = text.partition("=")
    try:
        content = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise UsageError(f"--set {text}: the value is not YAML") from error
    if not key or not equals:
        raise UsageError(f"--set {text}: expected KEY=VALUE, such as config.sparsity=0.6")
    return key, content
