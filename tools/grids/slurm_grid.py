"""A grid of toys through a real Slurm on this machine, one job requeued in the middle.

`sudo python tools/grids/slurm_grid.py --write docs/slurm.md`. Needs Debian's slurmctld, slurmd,
slurm-client and munge, and root; everything that is started is stopped, nothing outside a temporary
folder is written.
"""

import argparse
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve()
sys.path[:0] = [str(HERE.parents[2]), str(HERE.parents[2] / "tests" / "helpers")]
from clusters import GRID, Log, cells, compare, finish, toy  # noqa: E402

CONF = """ClusterName=toy
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort=17817
SlurmdPort=17818
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock
CredType=cred/munge
ProctrackType=proctrack/pgid
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
JobRequeue=1
KillWait=12
ReturnToService=2
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=1000 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def start_slurm(folder, log):
    """munged, slurmctld and slurmd in the foreground of their own processes."""
    for name in ("state", "spool"):
        (folder / name).mkdir()
    folder.chmod(0o755)
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1_024))
    key.chmod(0o400)
    conf = folder / "slurm.conf"
    conf.write_text(CONF.format(host=socket.gethostname().partition(".")[0], folder=folder))
    os.environ["SLURM_CONF"] = str(conf)
    munge = ["munged", "--foreground", "--force", f"--key-file={key}", "--num-threads=1",
             f"--socket={folder}/munge.sock", f"--pid-file={folder}/munged.pid",
             f"--log-file={folder}/munged.log", f"--seed-file={folder}/munge.seed"]  # fmt: skip
    commands = [munge, ["slurmctld", "-D", "-f", str(conf)], ["slurmd", "-D", "-f", str(conf)]]
    running = []
    for command in commands:
        program = shutil.which(command[0]) or f"/usr/sbin/{command[0]}"
        running.append(
            subprocess.Popen(
                [program, *command[1:]], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
        )
        time.sleep(2)
    for _ in range(60):
        done = subprocess.run(["sinfo", "-h", "-o", "%T"], capture_output=True, text=True,
                              check=False)  # fmt: skip
        if done.stdout.strip() in ("idle", "mixed"):
            version = subprocess.run(["sinfo", "--version"], capture_output=True, text=True,
                                     check=False)  # fmt: skip
            log(f"{version.stdout.strip()} is up, one node")
            return running
        time.sleep(1)
    raise SystemExit(f"Slurm did not come up: {done.stderr} see {folder}")


def requeue_one(out, log):
    """Requeue the first job of the array once it has begun a cell; its id."""
    for _ in range(300):
        for path in sorted(out.glob(".grid/*/slurm/*_log.err")):
            job = path.name.split("_0_log")[0]
            if cells(path.read_text(errors="replace")):
                log(f"job {job} works at: {cells(path.read_text())[-1]}; scontrol requeue {job}")
                subprocess.run(["scontrol", "requeue", job], check=True)
                return job
        time.sleep(0.2)
    raise SystemExit("no job began a cell")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    log, running = Log(), []
    with tempfile.TemporaryDirectory(prefix="slim-superb-slurm-") as name:
        folder = Path(name)
        try:
            grid = folder / "grid.yaml"
            grid.write_text(GRID)
            log("the grid by local processes")
            local = toy(folder, "grid", grid, "--out", folder / "local", "--workers", "2", "-q")
            log(f"exit code {local.wait(600)}")
            running = start_slurm(folder, log)
            log("the same grid by --executor slurm, two workers")
            front = toy(folder, "grid", grid, "--out", folder / "slurm", "--executor", "slurm",
                        "--workers", "2")  # fmt: skip
            job = requeue_one(folder / "slurm", log)
            text = front.communicate(timeout=600)[0]
            for path in sorted((folder / "slurm").glob(".grid/*/slurm/*_log.err")):
                log(f"{path.name}: {len(cells(path.read_text(errors='replace')))} cells begun")
            shown = subprocess.run(["scontrol", "show", "job", job], capture_output=True, text=True,
                                   check=False)  # fmt: skip
            restarts = re.search(r"Restarts=(\d+)", shown.stdout)
            log(f"job {job}: restarts {restarts[1] if restarts else 'not shown'}")
            is_good = compare(folder, "slurm", front, text, log)
        finally:
            for process in reversed(running):
                process.terminate()
            for process in running:
                process.wait(30)
    about = (
        "Written by `tools/grids/slurm_grid.py` on one machine: Debian's munged, slurmctld and "
        "slurmd\n(`proctrack/pgid`, `task/none`), 6 cells of the toy track with two seeds, a job "
        "requeued while it worked."
    )
    return finish("A grid through Slurm", about, log, is_good, options.write)


if __name__ == "__main__":
    sys.exit(main())
