"""Torchaudio without its native extension, imported by several threads at once."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EIGHT_THREADS = """
from threading import Barrier, Thread
from bench.sound.torchaudio_guard import import_torchaudio

start, loaded = Barrier(8), []

def load():
    start.wait()
    loaded.append(import_torchaudio("functional").NAME)

threads = [Thread(target=load) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(*loaded)
"""


def test_threads_wait_for_the_first_import(tmp_path):
    """The wheel's extension fails: the package is taken out and imported again."""
    package = tmp_path / "torchaudio"
    package.mkdir()
    slow = "import time\ntime.sleep({})\nimport torchaudio._extension\n"
    (package / "__init__.py").write_text(slow.format(0.2))
    (package / "_extension.py").write_text("raise OSError('libc10_cuda.so: no such file')\n")
    (package / "functional.py").write_text(slow.format(0.4) + "NAME = 'functional'\n")
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-c", EIGHT_THREADS],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == 8 * ["functional"], done.stderr
