"""Sections of the page in a browser: opened, in the address, in print."""

import re
import shutil
from pathlib import Path

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
    assert re.search(r"p, row above.*ASR CER [<=] [\d.]+, \S+@\S+; ", text)
    assert page.locator("#open table.main td[title*='against']").count() == 0  # no key reaches it
    for part in ("Provenance", "Costs", "Counted", "ASR", "SLU", "environment-20db", "[0.001: "):
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
    head = page.locator("#open table.main thead button", has_text="ASV EER").first
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


def test_print_opens_every_section_and_closes_it_again(page):
    page.locator("#open details.up summary").first.click()
    menu = page.locator("#open .menu")
    count = page.locator("main details:not(.menu)").count()
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("main details[open]:not(.menu)").count() == count > 0
    assert menu.get_attribute("open") is None
    assert page.locator("#open details.up p.all").count() == 0  # every condition is drawn
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("main details[open]").count() == 1


def test_without_scripts_a_section_has_every_condition(browser, tmp_path):
    """Of one row of the committed board: small enough for that, however many there come."""
    for row in ("results/open/house_robust", "items/open/house_robust"):
        shutil.copytree(ROOT / "leaderboard" / row, tmp_path / row)
    digests = "results/open/conditions.json"
    shutil.copyfile(ROOT / "leaderboard" / digests, tmp_path / digests)
    build_board(tmp_path / "results", tmp_path, Stamp("", ""))
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((tmp_path / "index.html").as_uri() + "#open-house-robust")
    section = page.locator("#open-house-robust")
    section.locator("summary").click()
    rows = section.locator("table.heat tbody tr")
    records = (ROOT / "leaderboard/results/open/house_robust").glob("*.json")
    measured = {item.condition for path in records for item in read_record(path).conditions}
    assert rows.count() == len(measured) > 20 and rows.first.is_visible()
    assert re.search(r"\d+\.\d+; [+\u2212]\d+\.\d", rows.first.text_content())
    assert page.locator("p.all").count() == 0
    context.close()


def test_print_clips_no_table(browser, tmp_path):
    """Of the committed board, which has many conditions with long names."""
    build_board(ROOT / "leaderboard/results", tmp_path, Stamp("", ""))
    page = browser.new_page(viewport={"width": 1040, "height": 720})  # A4 across
    page.emulate_media(media="print")
    page.goto((tmp_path / "index.html").as_uri())
    tables = page.locator("#open table.main, #open .robust table.heat").all()
    assert len(tables) == 3
    assert [table.bounding_box()["width"] <= 1040 for table in tables] == [True] * 3
    page.close()


def test_print_shows_closed_sections_without_scripts(browser, site):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(site)
    inside = page.locator("#open details.up > :not(summary)").first
    assert inside.bounding_box()["height"] == 0
    page.emulate_media(media="print")
    assert inside.bounding_box()["height"] > 50
    context.close()


def test_print(page, tmp_path):
    page.emulate_media(media="print")
    assert page.locator("#open .tools").is_hidden() and page.locator("nav").is_hidden()
    assert page.locator("#open table.main").is_visible()
    assert len(page.pdf()) > 10_000
