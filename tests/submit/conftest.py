"""A bundle of the toy track, as an archive and as a folder."""

import shutil

import pytest
from bundles import toy_bundle

from bench.records.bundle import opened


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """The toy track with a run of each of its two tasks, and an archive of them."""
    with pytest.MonkeyPatch.context() as patch:
        yield toy_bundle(tmp_path_factory.mktemp("submit"), patch)


@pytest.fixture
def folder(toy, tmp_path):
    """An unpacked bundle that a test may change."""
    target = tmp_path / "bundle"
    with opened(toy.archive) as bundle:
        shutil.copytree(bundle, target)
    return target
