"""Publishing, and the scripts of the workflow."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

from bench import registry
from bench.cli import main
from bench.errors import MissingError, UsageError
from bench.load.catalog import CARDS
from bench.paths import board_folder
from leaderboard.board.board import git_stamp
from leaderboard.page.publish import feed, publish

ROOT = Path(__file__).resolve().parents[2]
BOARD = ROOT / "leaderboard"


@pytest.fixture
def checkout(tmp_path):
    """What publishing needs of a checkout, with a board of two measured rows a track."""

    def other_rows(folder, names):
        is_track = Path(folder).parent.name in ("results", "items")
        return set(names) - {"ge2e", "house_whisper_ofa", "conditions.json"} if is_track else ()

    shutil.copytree(ROOT / ".ci", tmp_path / "co" / ".ci")
    (tmp_path / "co" / "submissions").mkdir()
    shutil.copytree(BOARD, tmp_path / "co" / "leaderboard", ignore=other_rows)
    return tmp_path / "co"


def test_published_folder_is_ready_to_serve(checkout):
    board, dest = checkout / "leaderboard", checkout / "public"
    said = publish(board, dest, address="https://example.org/board")
    assert "published in" in said
    for name in ("index.html", "board.csv", "board.json", "feed.xml", "results/open"):
        assert (dest / name).exists()
    assert not (dest / "results" / "quick").exists()
    root = ElementTree.fromstring((dest / "feed.xml").read_text("utf-8"))
    assert root.tag == "{http://www.w3.org/2005/Atom}feed"
    first = {p.name: p.read_bytes() for p in dest.iterdir() if p.is_file()}
    publish(board, dest, address="https://example.org/board")
    assert first == {p.name: p.read_bytes() for p in dest.iterdir() if p.is_file()}


def test_the_feed_names_changes_of_what_the_page_shows(tmp_path):
    board = tmp_path / "leaderboard"

    def git(*arguments):
        names = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        subprocess.run(["git", "-C", tmp_path, *names, *arguments], check=True, capture_output=True)

    git("init", "-q")
    places = ("results/open/a", "results/quick/a", "costs", "standing/open", "standing/quick",
              "published", "items/open/a", "items/quick/a", "page")  # fmt: skip
    for place in places:
        (board / place).mkdir(parents=True)
    for place in places:
        (board / place / "a.json").write_text("{}")
        git("add", ".")
        git("commit", "-qm", f"Change {place}")
    root = ElementTree.fromstring(feed(board, ""))
    titles = root.findall(".//{*}entry/{*}title")
    shown = ("items/open/a", "published", "standing/open", "costs", "results/open/a")
    assert [title.text for title in titles] == [f"Change {place}" for place in shown]


def test_a_folder_of_other_things_is_left_alone(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("years")
    with pytest.raises(UsageError, match="holds other files"):
        publish(BOARD, tmp_path / "home")
    assert (tmp_path / "home" / "thesis.tex").read_text() == "years"
    with pytest.raises(UsageError, match="expected https"):
        publish(BOARD, tmp_path / "new", address="javascript:x")


def script(name, *arguments, cwd):
    environment = {**os.environ, "CLI": f"{sys.executable} -m bench.cli", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [cwd / ".ci" / name, *arguments], cwd=cwd, env=environment, capture_output=True, text=True
    )


def test_the_workflow_script_refuses_and_reports(checkout):
    report = checkout / "report.md"
    done = script("verify", str(report), cwd=checkout)
    assert done.returncode == 0 and "no bundle" in done.stdout
    (checkout / "submissions" / "evil$(id).tar.gz").write_bytes(b"# <b>not</b> an archive")
    done = script("verify", str(report), cwd=checkout)
    assert done.returncode == 1
    text = report.read_text("utf-8")
    assert "### evilid.tar.gz: refused" in text
    assert re.search(r"^    slim-superb: .*not a \.tar\.gz archive", text, flags=re.MULTILINE)


def test_the_workflow_script_publishes(checkout):
    done = script("publish", "public", cwd=checkout)
    assert done.returncode == 0, done.stderr
    assert (checkout / "public" / "index.html").stat().st_size > 50_000


def test_the_page_is_published_anew_when_a_card_on_it_changes():
    flow = yaml.safe_load((ROOT / ".github/workflows/board.yml").read_text("utf-8"))
    paths = (flow.get("on") or flow[True])["push"]["paths"]
    for folder in (BOARD, CARDS, registry.TASKS):
        assert f"{folder.relative_to(ROOT)}/**" in paths


def test_the_workflow_has_no_more_rights_than_it_needs():
    flow = yaml.safe_load((ROOT / ".github/workflows/board.yml").read_text("utf-8"))
    assert flow["permissions"] == {"contents": "read"}
    assert "permissions" not in flow["jobs"]["verify"]
    assert "pull_request_target" not in (flow.get("on") or flow[True])
    for job in flow["jobs"].values():
        for step in job["steps"]:
            command = step.get("run", "")
            assert "${{" not in command  # nothing from outside is pasted into a shell
            if command:
                assert (ROOT / command.split()[0]).exists()


def test_commands_read_the_installed_board_where_no_other_lies(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "leaderboard").mkdir()  # of something else
    assert board_folder() == BOARD
    (tmp_path / "leaderboard/results").mkdir()
    assert board_folder() == Path("leaderboard")


def test_commands_refuse_what_would_end_in_the_installed_board(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["board", "--results", "nowhere"]) == MissingError.exit_code
    assert "no record in nowhere" in capsys.readouterr().err
    assert main(["verify", "bundle.tar.gz", "--accept"]) == UsageError.exit_code
    assert "--accept: no ./leaderboard" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_board_that_git_does_not_track_has_no_commit(tmp_path):
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    names = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    (tmp_path / "own.txt").write_text("of somebody else")
    subprocess.run(["git", "-C", tmp_path, "add", "own.txt"], check=True)
    subprocess.run(["git", "-C", tmp_path, *names, "commit", "-qm", "One"], check=True)
    (tmp_path / "site-packages/leaderboard").mkdir(parents=True)
    assert git_stamp(tmp_path) is not None
    assert git_stamp(tmp_path / "site-packages/leaderboard") is None
