"""Kill runs at seeded random moments and check that they end with the records of whole runs.

`python tools/grids/torture.py --kills 40 --write docs/torture.md`. Runs are those of the toy
track (real files, real processes, a toy upstream), in three modes: `pooled` and `frames` keep
features, `streaming` keeps none. A moment is a stage and a share of the time that it took in the
whole run. The state of a training is written at every update, so that kills hit the writing too.
Every start has another number of threads and of workers, which must change nothing.
"""

import argparse
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "helpers")]
os.environ["OMP_NUM_THREADS"] = "1"

# Before any fork: a child then begins at once, and inherits no threads.
import pytest  # noqa: E402
import torch  # noqa: E402
from toy_track import evaluate, evaluate_seeds, make_toy, write_toy  # noqa: E402
from tqdm import tqdm  # noqa: E402

from bench import stopping  # noqa: E402
from bench.engine import Engine  # noqa: E402
from bench.errors import UserError  # noqa: E402
from bench.probe import fit  # noqa: E402
from bench.records.record import read_record  # noqa: E402
from bench.run import job  # noqa: E402
from tools.markdown import markdown_table  # noqa: E402

STAGES = {"features": "extract", "training": "train", "prediction": "predict_tests",
          "scoring": "score_tests"}  # fmt: skip
MODES = {"pooled": ("tone", 50.0), "frames": ("voice", 50.0), "streaming": ("voice", 0.0)}
SEEDS = (0, 1)
THREADS, WORKERS = (1, 2, 4), (1, 2, 3)
SECONDS_TO_STOP = 10.0


def child(base, out, mode, cores, pipe):
    """Run in this process, write each stage that begins into a pipe, and exit.

    `cores` are the threads of torch and the workers.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    tqdm.set_lock(threading.RLock())  # tqdm's is shared by forks: a killed one keeps it
    code = 1
    try:
        toy = make_toy(base, pytest.MonkeyPatch())
        toy.out = out
        toy.home = out / "home"
        stopping.install()
        fit.SECONDS_BETWEEN_SAVES = 0.0

        def announced(stage, function):
            def wrapped(*args, **options):
                os.write(pipe, f"{stage} {time.monotonic()}\n".encode())
                return function(*args, **options)

            return wrapped

        for stage, name in STAGES.items():
            setattr(job, name, announced(stage, getattr(job, name)))
        task, store_gb = MODES[mode]
        threads, workers = cores
        torch.set_num_threads(threads)
        evaluate_seeds(toy, SEEDS, task, store_gb=store_gb, engine=Engine(workers=workers))
        os.write(pipe, f"end {time.monotonic()}\n".encode())
        code = 0
    except KeyboardInterrupt:
        code = 130
    finally:
        os._exit(code)


def start(base, out, mode, cores):
    """Fork a child; return its number and the lines of its stages."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        child(base, out, mode, cores, write)
    os.close(write)
    return pid, os.fdopen(read)


def whole(base, out, mode, cores=(1, 1)):
    """Run to the end; return seconds of every stage and the records."""
    pid, lines = start(base, out, mode, cores)
    times = [line.split() for line in lines]
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0, f"{mode}: a run failed"
    seconds = {}
    for (stage, begin), (_, end) in itertools.pairwise(times):
        seconds[stage] = seconds.get(stage, 0.0) + float(end) - float(begin)
    return seconds, records(out)


def records(out):
    """Return all records, without timings, as text."""
    return {path.name: json.dumps(read_record(path).comparable(), sort_keys=True)
            for path in sorted((out / "toy").glob("*/*.json"))}  # fmt: skip


def cut(base, out, mode, cores, stage, seconds, number, seed):
    """Start a run, and send a signal seconds after a stage began (of its first or second seed).

    Returns:
        whether it hit that stage, how many seconds the end took, and the exit code.
    """
    pid, lines = start(base, out, mode, cores)
    for line in lines:
        if line.split()[0] == stage:
            if not seed:
                break
            seed -= 1
    time.sleep(seconds)
    sent = time.monotonic()
    os.kill(pid, number)
    _, status = os.waitpid(pid, 0)
    took = time.monotonic() - sent
    begun = [(stage, 0.0), *((name, float(at)) for name, at in map(str.split, lines))]
    reached = [name for name, at in begun if at <= sent][-1]
    # A run that is asked to stop while it scores may finish.
    expected = (-signal.SIGKILL,) if number == signal.SIGKILL else (130, 0)
    code = os.waitstatus_to_exitcode(status)
    return code in expected and reached == stage, took, code


def one(base, folder, mode, stage, number, rng, reference, durations):
    """Interrupt a run and run it again; return the line for the table."""
    for attempt in range(8):  # the run may be over by then: try an earlier moment
        out = folder / f"{mode}-{stage}-{rng.randrange(10**9)}"
        shutil.copytree(base / "finished", out)
        before = stamp(out)
        share = rng.random() / (attempt + 1)
        cores = [(rng.choice(THREADS), rng.choice(WORKERS)) for _ in range(2)]
        seconds = share * durations.get(stage, 0.05)
        hit, took, code = cut(base, out, mode, cores[0], stage, seconds, number,
                        rng.randrange(2) if stage in ("prediction", "scoring") else 0)  # fmt: skip
        if hit:
            break
    records_before = len(records(out)) - 1
    is_kept = any(out.glob("toy/*/*/training/*/grid-*.sealed"))
    _, after = whole(base, out, mode, cores[1])
    same = {name: text for name, text in after.items() if name != "tone-s7.json"} == reference
    untouched = stamp(out) == before
    shutil.rmtree(out)
    return {"mode": mode, "stage": stage, "share": share, "hit": hit,
            "records_before": records_before, "same": same, "untouched": untouched,
            "seconds_to_end": took, "kept": is_kept, "code": code, "cores": cores}  # fmt: skip


def stamp(out):
    """Return content and time of the record that was finished before."""
    path = out / "toy" / "fbank" / "tone-s7.json"
    return path.read_bytes(), path.stat().st_mtime_ns


def prepare(base):
    """Write the corpus, and a folder with one finished record in it.

    This process does it, not a child, so that modules imported late are there for all children.
    """
    write_toy(base)
    with pytest.MonkeyPatch.context() as patch:
        toy = make_toy(base, patch)
        toy.out, toy.home = base / "finished", base / "finished" / "home"
        evaluate(toy, "tone", seed=7)
    shutil.rmtree(base / "finished" / "home")


def full_disk(base, folder):
    """Run on a disk of 60 kB; return the line that it ends with, or why this cannot be tried."""
    place = folder / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=60k", "tmpfs", str(place)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        return "not tried: mounting a tmpfs needs root"
    read, write = os.pipe()
    pid = os.fork()
    try:
        if pid == 0:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            line = "the run ended as if there were room"
            try:
                toy = make_toy(base, pytest.MonkeyPatch())
                toy.out = toy.home = place
                evaluate(toy, "voice")
            except UserError as error:
                line = f"exit code {error.exit_code}: {error}".replace(str(place), "DISK")
            finally:
                os.write(write, line.encode())
                os._exit(0)
        os.close(write)
        with os.fdopen(read) as pipe:
            line = pipe.read()
        os.waitpid(pid, 0)
        return line
    finally:
        subprocess.run(["umount", str(place)], check=False)


def torture(kills, seed, terms):
    """Interrupt runs; return a line for each, and the line of a run on a full disk."""
    rng, lines = random.Random(seed), []
    with tempfile.TemporaryDirectory(prefix="slim-superb-torture-") as name:
        base = folder = Path(name)
        prepare(base)
        reference = {}
        places = [(mode, stage) for stage in STAGES for mode in MODES
                  if (mode, stage) != ("streaming", "features")]  # fmt: skip
        for number in [*range(kills), *range(terms)]:
            mode, stage = places[number % len(places)]
            kind = signal.SIGKILL if len(lines) < kills else signal.SIGTERM
            if mode not in reference:
                reference[mode] = whole(base, folder / f"whole-{mode}", mode)
            seconds, records_of = reference[mode]
            line = one(base, folder, mode, stage, kind, rng, records_of, seconds)
            lines.append({"signal": kind.name, **line})
            sys.stderr.write(json.dumps(lines[-1]) + "\n")
        return lines, full_disk(base, folder)


def is_good(line):
    """Return whether an interruption did no harm; SIGTERM in a training must keep its state."""
    good = line["same"] and line["untouched"] and line["hit"]
    if line["signal"] == "SIGTERM":
        good &= line["seconds_to_end"] <= SECONDS_TO_STOP
        good &= line["kept"] or line["stage"] != "training"
    return good


def ending(line):
    """Return how long a process took to stop after SIGTERM, and what it kept."""
    if line["signal"] == "SIGKILL":
        return ""
    result = "training kept" if line["kept"] else "all done" if line["code"] == 0 else "stopped"
    return f"{line['seconds_to_end']:.1f} s, {result}"


def page(lines, disk, options):
    """Return the result as Markdown."""
    good = [line for line in lines if is_good(line)]
    terms = [line["seconds_to_end"] for line in lines if line["signal"] == "SIGTERM"]
    head = ("", "signal", "mode", "stage", "moment", "threads, workers", "records before", "same",
            "untouched", "end")  # fmt: skip
    rows = [
        (n, x["signal"], x["mode"], x["stage"], f"{100 * x['share']:.0f} %",
         ", then ".join(f"{t}, {w}" for t, w in x["cores"]), x["records_before"],
         "yes" if x["same"] else "NO", "yes" if x["untouched"] else "NO", ending(x))
        for n, x in enumerate(lines, 1)
    ]  # fmt: skip
    longest = f"; the longest of {len(terms)} SIGTERMs took {max(terms):.1f} s" if terms else ""
    longest += " (at most 10 allowed)" if terms else ""
    return (
        "# Killed at random moments\n\n"
        f"Written by `python tools/grids/torture.py --kills {options.kills} --terms "
        f"{options.terms} "
        f"--seed {options.seed}` (`make torture`) on the toy track: real files and processes, two "
        "seeds a run, a toy upstream.\n\n"
        f"{len(good)} of {len(lines)} runs that were interrupted and started again ended with the "
        f"records of the whole run (timings aside), and left a finished record untouched{longest}. "
        "The whole run had one thread and one worker, the others what the table says."
        "\n\n"
        f"A run on a disk of 60 kB: `{disk}`\n\n"
        f"{markdown_table(rows, head)}\n"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--terms", type=int, default=11)
    parser.add_argument("--seed", type=int, default=9)
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    lines, disk = torture(options.kills, options.seed, options.terms)
    text = page(lines, disk, options)
    if options.write:
        options.write.write_text(text, encoding="utf-8")
    sys.stdout.write(text)
    return 0 if all(map(is_good, lines)) else 1


if __name__ == "__main__":
    sys.exit(main())
