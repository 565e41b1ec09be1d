"""Sections of the page in a browser: opened, in the address, on paper."""

import re
import shutil
from pathlib import Path

import pytest

from bench.records.record import read_record
from bench.registry import task_names
from leaderboard.board.board import Stamp
from leaderboard.page.build import build_board

ROOT = Path(__file__).resolve().parents[2]


def opened(page):
    """Ids of the sections that are open."""
    return page.evaluate("[...document.querySelectorAll('main details[open]')].map((d) => d.id)")


def until_address(page, holds):
    """Wait for it here: a condition in the page would be a string for `eval`, which it forbids."""
    for _ in range(100):
        if holds(page.url):
            return
        page.wait_for_timeout(50)
    raise AssertionError(page.url)


def test_a_section_opens_with_everything(page):
    page.locator("#open table.main th a", has_text="distilhubert@v2").first.click()
    details = page.locator("details.up[open]")
    assert details.count() == 1
    text = details.text_content()
    assert re.search(r"Paired test with the row above.*ASR CER [<=] [\d.]+, \S+@\S+; ", text)
    assert page.locator("#open table.main td[title*='against']").count() == 0  # no key reaches it
    for part in (
        "Provenance",
        "Costs",
        "On clean speech",
        "ASR",
        "SLU",
        "environment-20db",
        "[0.001: ",
    ):
        assert part in text
    assert details.locator("svg.bars").count() == len(task_names("open"))
    page.goto(page.url.split("#")[0] + "#open-distilhubert-v2")
    page.reload()
    assert page.locator("details.up[open]").count() == 1


def test_opened_sections_are_in_the_address(page, browser):
    page.fill("#open [name=q]", "v2")
    wanted = ["open-distilhubert-v2", "open-distilhubert-v23", "open-task-asr"]
    for key in wanted:
        page.locator(f"#{key} summary").click()
    until_address(page, lambda url: "task-asr" in url)
    again = browser.new_page()
    again.goto(page.url)
    assert opened(again) == wanted
    assert again.input_value("#open [name=q]") == "v2"
    assert again.locator("#open-distilhubert-v23 svg.bars").count() == len(task_names("open"))
    again.close()
    page.locator(f"#{wanted[0]} summary").click()
    until_address(page, lambda url: "v2~" not in url)
    head = page.locator("#open table.main thead button", has_text="ASR CER").first
    head.click()  # what else changes leaves them as they are
    assert opened(page) == wanted[1:]
    page.locator("#open [name=reset]").click()
    assert opened(page) == [] and "o=" not in page.url


def test_an_address_of_one_section_stays_what_it_is(page, site):
    page.goto(site + "#open-distilhubert-v2")
    page.reload()
    assert opened(page) == ["open-distilhubert-v2"]
    page.wait_for_timeout(100)
    assert page.url.endswith("#open-distilhubert-v2")


def test_without_scripts_a_section_has_every_condition(browser, tmp_path):
    """Of one row of the committed board: small enough for that, however many there come."""
    for row in ("results/open/house_whisper_robust", "items/open/house_whisper_robust"):
        shutil.copytree(ROOT / "leaderboard" / row, tmp_path / row)
    digests = "results/open/conditions.json"
    shutil.copyfile(ROOT / "leaderboard" / digests, tmp_path / digests)
    build_board(tmp_path / "results", tmp_path, Stamp("", ""))
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((tmp_path / "index.html").as_uri() + "#open-house-whisper-robust")
    section = page.locator("#open-house-whisper-robust")
    section.locator("summary").click()
    rows = section.locator("table.heat tbody tr")
    paths = (ROOT / "leaderboard/results/open/house_whisper_robust").glob("*.json")
    records = [read_record(path) for path in paths]
    measured = {item.condition for record in records for item in record.conditions}
    measured |= {score.condition for record in records for score in record.scores} - {"clean"}
    assert rows.count() == len(measured) > 20 and rows.first.is_visible()
    assert re.search(r"\d+\.\d+[+\u2212]\d+\.\d", rows.first.text_content())
    assert page.locator("p.all").count() == 0
    context.close()


@pytest.mark.parametrize("scripts", [True, False])
def test_paper_has_the_tables_whole_on_few_pages(watched, committed_page, scripts):
    """Of the committed board; without scripts both tracks are printed."""
    page = watched(committed_page, width=1046, height=718, java_script_enabled=scripts)
    page.emulate_media(media="print")
    tables = page.locator("#open table.main, #open .robust table.heat").all()
    assert len(tables) == 3
    assert all(table.bounding_box()["width"] <= 1046 for table in tables)
    for hidden in (".tools", ".rows", ".pin"):
        assert page.locator(f"#open {hidden}").first.is_hidden()
    pages = re.findall(rb"/Type\s*/Page\b", page.pdf(prefer_css_page_size=True))
    assert 2 <= len(pages) <= (8 if scripts else 13)
