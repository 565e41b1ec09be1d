"""The toy track, in a home of its own."""

import pytest
from toy_track import make_toy

from bench import stopping
from bench.run import artifacts, job


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """The toy track."""
    toy = make_toy(tmp_path, monkeypatch)
    monkeypatch.setenv("SLIM_SUPERB_HOME", str(toy.home))
    monkeypatch.setattr(stopping, "install", lambda: None)
    monkeypatch.setattr(artifacts, "load_upstream", job.load_upstream)
    return toy
