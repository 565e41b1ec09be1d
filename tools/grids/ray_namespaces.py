"""A grid of toys through Ray on nodes of their own networks; one is lost, one is added.

`sudo python tools/grids/ray_namespaces.py --write docs/ray.md`; needs root, `ip` and
`pip install 'slim-superb[ray]'`. A node is a network namespace with an address of its own and the
processes of a real `ray start` in it; a cable (veth) leads from each to a bridge in one more. The
machine's own network is not touched, and all of it is taken away in the end.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve()
sys.path[:0] = [str(HERE.parents[2]), str(HERE.parents[2] / "tests" / "helpers")]
from clusters import GRID, Log, holders, records, toy, write_section  # noqa: E402

# Ray makes its workers nice (15): on a machine with other work that would be measured, not Ray.
os.environ |= {"OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
SWITCH = f"slim{os.getpid()}"
PORT = 6399


def ip(*words, **options):
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True, **options)


class Node:
    """A namespace on the bridge with a real `ray start` in it.

    Args:
        number: of the node; 1 is the head.
        folder: for what Ray writes down.
    """

    def __init__(self, number, folder):
        self.name, self.address = f"{SWITCH}n{number}", f"10.77.0.{number}"
        self.cable = f"c{number}"
        ip("netns", "add", self.name)
        ip("link", "add", "eth0", "netns", self.name, "type", "veth", "peer", self.cable, "netns",
           SWITCH)  # fmt: skip
        ip("-n", SWITCH, "link", "set", self.cable, "master", "bridge", "up")
        ip("-n", self.name, "address", "add", f"{self.address}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            ip("-n", self.name, "link", "set", device, "up")
        self.inode = Path(f"/run/netns/{self.name}").stat().st_ino
        where = ["--head", f"--port={PORT}", "--include-dashboard=false"]
        if number > 1:
            where = [f"--address=10.77.0.1:{PORT}"]
        self.process = subprocess.Popen(
            [*self.inside(), sys.executable, "-m", "ray.scripts.scripts", "start", *where,
             f"--node-ip-address={self.address}", "--num-cpus=1", "--block",
             "--object-store-memory=80000000", "--disable-usage-stats",
             *([f"--temp-dir={folder}"] if number == 1 else [])],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def inside(self):
        """What to put before a command."""
        return ["ip", "netns", "exec", self.name]

    def lose(self):
        """Its power goes: cable out, and every process of it is killed."""
        ip("-n", SWITCH, "link", "set", self.cable, "down")
        for pid in ip("netns", "pids", self.name).stdout.split():
            try:
                os.kill(int(pid), signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait(60)
        ip("netns", "delete", self.name)


def alive(head):
    """How many nodes the head says it has."""
    code = (
        f"import ray; ray.init(address='10.77.0.1:{PORT}', log_to_driver=False, "
        "configure_logging=False); print(sorted(n['NodeManagerAddress'] for n in ray.nodes() "
        "if n['Alive']))"
    )
    done = subprocess.run([*head.inside(), sys.executable, "-c", code], capture_output=True,
                          text=True, check=False)  # fmt: skip
    lines = [line for line in done.stdout.splitlines() if line.startswith("['10.")]
    return json.loads(lines[-1].replace("'", '"')) if lines else []


def wait_for(nodes, log, seconds=300):
    """Until Ray has just these nodes, and no lost one any more.

    Raises:
        SystemExit: it does not.
    """
    end, expected = time.monotonic() + seconds, [node.address for node in nodes]
    while time.monotonic() < end:
        found = alive(nodes[0])
        if found == expected:
            log(f"Ray says that these nodes are alive: {', '.join(found)}")
            return
        time.sleep(1)
    raise SystemExit(f"expected nodes {expected}, Ray has {found}")


class Watch(threading.Thread):
    """Sees which cell is done in which namespace.

    Args:
        out: folder of records.
        nodes: by the inode of their namespace, the address; more may be added.
    """

    def __init__(self, out, nodes):
        super().__init__(daemon=True)
        self.out, self.nodes, self.seen, self.is_over = out, nodes, {}, False

    def run(self):
        while not self.is_over:
            for pid, cell in holders(self.out):
                self.seen.setdefault((cell, pid), self.place(pid))
            time.sleep(0.05)

    def place(self, pid):
        """The address of the node that a process is on."""
        try:
            return self.nodes.get(Path(f"/proc/{pid}/ns/net").stat().st_ino, "another network")
        except OSError:
            return "gone"


def trouble(nodes, folder, out, watch, log):
    """Kill a worker that has a cell; then the second node goes, and a third comes."""
    end = time.monotonic() + 400
    while time.monotonic() < end:
        held = [pid for pid, _ in holders(out)]
        if held and len(list(out.glob(".grid/*/*.done.json"))) >= 2:
            log(f"SIGKILL to the worker on {watch.place(held[0])}, which has a cell")
            os.kill(held[0], signal.SIGKILL)
            break
        time.sleep(0.05)
    log(f"node {nodes[1].address} is lost: its cable is out, its processes are killed")
    nodes.pop(1).lose()
    nodes.append(Node(3, folder))
    watch.nodes[nodes[-1].inode] = nodes[-1].address
    log(f"node {nodes[-1].address} is added")
    wait_for(nodes, log)


def through_ray(grid, folder, log):
    """The grid on two nodes, with trouble; its exit code."""
    ip("netns", "add", SWITCH)
    nodes = []
    try:
        ip("-n", SWITCH, "link", "add", "bridge", "type", "bridge")
        ip("-n", SWITCH, "link", "set", "bridge", "up")
        # Sockets have short paths, so not in the folder of the grid.
        with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as name:
            nodes.append(Node(1, name))
            time.sleep(8)  # the head first
            nodes.append(Node(2, name))
            wait_for(nodes, log)
            out = folder / "ray"
            watch = Watch(out, {node.inode: node.address for node in nodes})
            watch.start()
            front = toy(folder, "grid", grid, "--out", out, "--executor", "ray", "--workers", "2",
                        before=nodes[0].inside(), RAY_ADDRESS=f"10.77.0.1:{PORT}")  # fmt: skip
            said = []
            reader = threading.Thread(target=lambda: said.extend(front.communicate()))
            reader.start()
            trouble(nodes, name, out, watch, log)
            reader.join(2_400)  # a busy machine takes its time
            watch.is_over = True
            log(f"exit code {front.returncode}: {said[0].strip().splitlines()[-1]}")
            for place, count in sorted(Counter(watch.seen.values()).items()):
                log(f"{count} cells were seen at work on {place}")
            return front.returncode
    finally:
        for node in reversed(nodes):
            node.lose()
        ip("netns", "delete", SWITCH)


def main():
    import ray

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    log = Log()
    with tempfile.TemporaryDirectory(prefix="slim-superb-ray-") as name:
        folder = Path(name)
        grid = folder / "grid.yaml"
        grid.write_text(GRID)
        log("the grid by local processes")
        local = toy(folder, "grid", grid, "--out", folder / "local", "--workers", "2", "-q")
        log(f"exit code {local.wait(900)}")
        log(f"ray start {ray.__version__} in two network namespaces")
        code = through_ray(grid, folder, log)
        one, other = records(folder / "local"), records(folder / "ray")
    log(f"{len(other)} records, {sum(one[n] == other.get(n) for n in one)} of {len(one)} "
        "identical to the local ones (timings aside)")  # fmt: skip
    is_good = one == other and not code and len(one) == 8
    if options.write:
        text = (
            "Written by `tools/grids/ray_namespaces.py` on one machine: every node is a "
            "`ray start` in a "
            "network namespace with an address of its own, 24 cells of the toy track.\n\n```\n"
            + "\n".join(log.lines) + "\n```"
        )  # fmt: skip
        write_section(options.write, "On nodes of their own networks", text)
    sys.stdout.write(json.dumps({"identical": is_good}) + "\n")
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
