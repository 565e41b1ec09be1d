"""The first minutes of a newcomer: what a command says, step by step, on the toy corpus."""

import json

import pytest

from bench.cli import main
from bench.errors import CONTROL_CODE, MissingError
from bench.load import loader
from bench.run import job


@pytest.fixture
def folder(toy, tmp_path, monkeypatch):
    """An empty folder in which commands run, with the real loader and the toy's home."""
    monkeypatch.setattr(job, "load_upstream", loader.load_upstream)
    monkeypatch.setenv("SLIM_SUPERB_HOME", str(toy.home))
    monkeypatch.delenv("SLIM_SUPERB_WEIGHTS", raising=False)
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    return empty


@pytest.fixture
def without_network(monkeypatch):
    """Sources of weights that do not answer."""

    def refuse(name, source, folder, advice):
        raise MissingError(f"{name}: the weights cannot be reached (no network); {advice}")

    monkeypatch.setattr("bench.load.downloads.from_wheels", refuse)


def test_weights_out_of_reach_are_said_first_and_last_with_a_code_of_their_own(
    folder, without_network, capsys
):
    command = ["eval", "ge2e", "tone", "--track", "toy"]
    assert main(command) == CONTROL_CODE
    said = capsys.readouterr()
    fetch, instead, control = said.err.splitlines()[:3]
    for word in ("pretrained.pt (", "sha256 ", "from the wheel resemblyzer", "weights/ge2e"):
        assert word in fetch
    assert "that is here" in instead or "is here; of others: " in instead
    assert control.startswith("UNTRAINED CONTROL: going on with random weights")
    last = said.out.splitlines()[-1]
    assert last.startswith("UNTRAINED CONTROL") and "no result of ge2e" in last
    assert main([*command, "--json"]) == CONTROL_CODE
    record = json.loads(capsys.readouterr().out)
    assert record["untrained_instead_of"] == "ge2e" and record["weights"] == "untrained"
    assert main(["eval", "ge2e+untrained", "tone", "--track", "toy", "--json"]) == 0
    assert "untrained_instead_of" not in json.loads(capsys.readouterr().out)
    assert main([*command, "--strict"]) == MissingError.exit_code
    assert not capsys.readouterr().out


def test_a_repository_out_of_reach_is_one_line_at_once(folder, monkeypatch, capsys):
    """There is no configuration of which an untrained control could be built."""
    asked = []

    def refuse(self, repository, *, repo_type, revision, timeout):
        asked.append((repository, repo_type, timeout))
        try:
            raise OSError("Name or service not known")
        except OSError as error:
            raise RuntimeError("a long story") from error

    monkeypatch.setattr("huggingface_hub.HfApi.repo_info", refuse)
    assert main(["eval", "hf:org/model", "tone", "--track", "toy"]) == MissingError.exit_code
    (line,) = capsys.readouterr().err.splitlines()
    assert "(Name or service not known); download https://huggingface.co/org/model" in line
    assert asked == [("org/model", "model", 5)]  # once
