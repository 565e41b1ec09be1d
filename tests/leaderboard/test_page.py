"""The page in a browser: offline, with the keyboard, without scripts, narrow, on paper."""

import csv
import re
from itertools import pairwise
from pathlib import Path

import pytest
from big_board import PAGE_ROWS as ROWS

ROOT = Path(__file__).resolve().parents[2]


# Rows below the first screen, and the tables below, follow after the next picture.
PAINTED = "new Promise((done) => requestAnimationFrame(() => setTimeout(setTimeout, 0, done)))"

SPACE_AFTER_NUMBER = """(cell) => {
    const number = [...cell.childNodes].find((node) => node.nodeType === 3 || node.tagName === 'B');
    const range = document.createRange();
    range.selectNodeContents(number);
    return cell.getBoundingClientRect().right - range.getBoundingClientRect().right;
}"""
# Changes of the mean under a condition, in percent: in the main table, and in those below.
CHANGES = """(name) => {
    const number = (cell) =>
        Number.parseFloat(cell.querySelector('small').textContent.replace('\u2212', '-'));
    const heads = [...document.querySelectorAll('#open table.main tr.heads th')];
    const mean = heads.findIndex((head) => head.textContent.includes('Mean'));
    const head = document.querySelector(`#open .robust th[data-n="${name}"]`);
    return [...head.closest('table').querySelectorAll('tr[data-k]')].flatMap((row) => {
        const [above, below] = [document.getElementById(`r-${row.dataset.k}`), row]
            .map((line, at) => line.cells[at ? head.cellIndex : mean]);
        return below.querySelector('small') ? [[number(above), number(below)]] : [];
    });
}"""


def names(page, track="open"):
    """Names of the rows that are shown, from top to bottom."""
    page.evaluate(PAINTED)
    rows = page.locator(f"#{track} table.main tbody tr:not(.head):visible th a")
    return rows.all_text_contents()


def column(page, key, track="open"):
    """Texts of a column of the rows that are shown, without notes."""
    page.evaluate(PAINTED)
    return page.evaluate(
        """([track, key]) => {
            const view = JSON.parse(document.getElementById('data').textContent).views
                .find((item) => item.k === track);
            const at = view.cols.findIndex((item) => item.k === key) + 1;
            return [...document.querySelectorAll(`#${track} table.main tbody tr:not(.head)`)]
                .filter((row) => !row.hidden)
                .map((row) => [...row.cells[at].childNodes].filter((node) => node.nodeType === 3
                    || node.tagName === 'B').map((node) => node.textContent).join(''));
        }""",
        [track, key],
    )


def numbers(texts):
    return [float(text) for text in texts if text != "\N{EN DASH}"]


def rises(values):
    """Return True if values rise, up to the rounding of two spellings of one number."""
    return all(two - one > -0.011 for one, two in pairwise(values))


def boxes_of(page, selector):
    """Left, top, right and bottom of texts, without their air."""
    return page.evaluate(
        """(selector) => [...document.querySelectorAll(selector)].map((text) => {
            const box = text.getBoundingClientRect();
            return [box.left + 1, box.top + 4, box.right - 1, box.bottom - 4];
        })""",
        selector,
    )


def apart(boxes):
    """No two of them overlap."""
    for i, one in enumerate(boxes):
        for two in boxes[:i]:
            assert one[0] >= two[2] or two[0] >= one[2] or one[1] >= two[3] or two[1] >= one[3]


def head(page, text, track="open"):
    return page.locator(f"#{track} table.main thead button", has_text=text).first


def menu(page, title, track="open"):
    page.locator(f"#{track} .menu summary", has_text=title).click()


def heads_shown(page, track="open"):
    return page.locator(f"#{track} table.main thead tr.heads th:visible").count()


def test_loads_and_says_what_it_shows(page):
    assert page.title() == "Slim-SUPERB"
    assert len(names(page)) == ROWS
    assert page.locator("#open .count").text_content() == f"{ROWS} of {ROWS} rows"
    assert page.locator("#superb").is_hidden()
    assert "commit 0123456789ab, 2026-11-21" in page.locator("footer").text_content()
    for link in ("#notes", "#submit", "#cite"):
        assert page.locator(f"nav a[href='{link}']").is_visible()
    assert "author = {Yang, Shu-wen" in page.locator("#cite").text_content()


def test_at_most_nine_columns_at_first_and_the_best_mean_above(page):
    """Beside the model: mean, parameters, MACs and main metrics; rows are 40 pixels high."""
    assert heads_shown(page) == 10 and heads_shown(page, "superb") <= 10
    means = numbers(column(page, "mean"))
    assert rises(means[::-1]) and len(means) == ROWS
    page.locator("#open .scroll").first.scroll_into_view_if_needed()
    heights = [row.bounding_box()["height"] for row in page.locator("#open .main tbody tr").all()]
    assert {round(height) for height in heights} <= {40, 41}
    smallest = page.evaluate(
        """() => Math.min(...[...document.querySelectorAll('body *')]
            .filter((node) => node.checkVisibility() && node.textContent.trim())
            .map((node) => parseFloat(getComputedStyle(node).fontSize)))"""
    )
    assert smallest >= 12


def test_heads_stay_while_rows_are_scrolled(page):
    place = "() => document.querySelector('#open .main thead').getBoundingClientRect().top"
    page.evaluate("document.querySelector('#open .tall').scrollTop = 400")
    top = page.locator("#open .tall").bounding_box()["y"]
    assert page.evaluate(place) == pytest.approx(top, abs=2)


def test_sort_has_three_states(page):
    before = names(page)
    mean = page.locator("#open table.main thead th", has_text="Mean").first
    header = page.locator("#open table.main thead th", has_text="ASR CER")
    assert mean.get_attribute("aria-sort") == "descending"
    head(page, "ASR CER").click()
    values = numbers(column(page, "asr.cer"))
    assert rises(values) and header.get_attribute("aria-sort") == "ascending"
    assert mean.get_attribute("aria-sort") is None
    head(page, "ASR CER").click()
    values = numbers(column(page, "asr.cer"))
    assert rises(values[::-1]) and header.get_attribute("aria-sort") == "descending"
    head(page, "ASR CER").click()
    assert names(page) == before and header.get_attribute("aria-sort") is None
    head(page, "KS accuracy").click()  # higher is better: the best come first
    assert rises(numbers(column(page, "ks.accuracy"))[::-1])


def test_filters_narrow_and_reset_widens(page):
    page.select_option("#open [name=f]", "pruned")
    assert set(column(page, "family")) == {"pruned"}
    page.fill("#open [name=p]", "60")
    assert len(names(page)) > 0 and max(numbers(column(page, "params"))) <= 60
    assert page.locator("#open .empty").is_hidden()
    page.fill("#open [name=q]", "nothing is called so")
    assert names(page) == []
    assert page.locator("#open .count").text_content() == f"0 of {ROWS} rows"
    assert page.locator("#open svg.pareto").text_content() == "No row has both."
    page.locator("#open .empty button", has_text="Reset").click()
    assert len(names(page)) == ROWS
    page.fill("#open [name=q]", "distilhubert v23")
    assert names(page) == ["distilhubert@v23"]
    page.click("#open [name=reset]")
    menu(page, "Filters")
    page.fill("#open [name=m]", "3")
    assert 0 < len(names(page)) < ROWS and max(numbers(column(page, "macs"))) <= 3


def test_columns_are_chosen(page):
    menu(page, "Columns")
    page.check("#open [name='col-asr.wer']")
    page.uncheck("#open [name='col-asr.cer']")
    assert page.locator("#open table.main thead th", has_text="ASR WER").is_visible()
    assert page.locator("#open table.main thead th", has_text="ASR CER").is_hidden()
    assert "h=asr.wer~asr.cer" in page.url
    page.keyboard.press("Escape")
    assert page.locator("#open .menu[open]").count() == 0


def test_two_to_four_rows_are_compared(page):
    pins = page.locator("#open table.main .pin")
    assert pins.first.text_content() == "Compare"
    pins.nth(3).click()
    assert page.locator(".compare").count() == 0
    pins.nth(7).click()
    panel = page.locator(".compare")
    assert panel.locator("thead th").count() == 5
    assert "not told apart" in panel.text_content()
    assert "slim-superb compare" in panel.text_content()
    page.locator("#open .tall").evaluate("node => { node.scrollTop = 300; }")
    pins.nth(9).click()
    pins.nth(11).click()
    assert panel.locator("thead th").count() == 11
    pins.nth(15).click()
    assert "At most 4" in page.locator("#toast").text_content()
    assert panel.locator("thead th").count() == 11
    page.click(".compare [name=unpin]")
    assert panel.count() == 0


def test_the_address_holds_everything(page, watched, site):
    head(page, "ASR CER").click()
    page.select_option("#open [name=f]", "robust")
    page.fill("#open [name=q]", "v1")
    menu(page, "Columns")
    page.uncheck("#open [name='col-ks.accuracy']")
    page.keyboard.press("Escape")
    page.select_option("#open [name=y]", "ks.accuracy")
    page.select_option("#open [name=x]", "macs")
    page.select_option("#open [name=r]", "asv")
    page.select_option("#open [name=n]", "ladder-music")
    page.locator("#open table.main .pin:visible").nth(0).click()
    page.locator("#open table.main .pin:visible").nth(1).click()
    shown, url = names(page), page.url
    again = watched(url)
    assert names(again) == shown
    for name in ("f", "q", "x", "y", "r", "n"):
        assert again.input_value(f"#open [name={name}]") == page.input_value(f"#open [name={name}]")
    assert again.locator(".compare thead th").count() == 5
    assert again.locator("#open table.main thead th", has_text="KS accuracy").is_hidden()
    assert "ladder-music" in again.locator("#open .main caption").text_content()
    page.go_back()
    assert page.locator(".compare").count() == 0
    for hostile in ("#v=%3Cscript%3E&s=<img src=x>", "#q=%E0%A4%A", "#c=a~b~c~d~e~f", "#nothing"):
        page.goto(site + hostile)
        assert page.locator("table.main").first.is_visible()


def test_views_are_apart(page):
    page.click("nav a[data-view=superb]")
    assert page.locator("#open").is_hidden() and page.locator("#superb").is_visible()
    assert page.locator("nav a[aria-current]").text_content() == "SUPERB"
    assert len(names(page, "superb")) == len(
        list((ROOT / "leaderboard/published").glob("[!_]*.yaml"))
    )
    assert page.locator("#superb tr.reported .badge").first.text_content() == "reported"
    assert page.locator("#superb table.main tbody tr:not(.reported)").count() == 0
    assert page.locator("#open tr.reported").count() == 0


def test_keyboard_alone(page):
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.closest('thead') !== null"):
            break
    page.keyboard.press("Enter")
    assert page.locator("#open [aria-sort]").count() == 1
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.className") == "pin":
            break
    page.keyboard.press("Space")
    assert page.locator("#open tr.pinned").count() == 1
    page.focus("#open a.dot >> nth=0")
    page.keyboard.press("Enter")
    assert page.locator("details.up[open]").count() == 1
    assert page.evaluate("document.activeElement.tagName") == "SUMMARY"


def test_no_focused_head_hides_under_the_first_column(watched, site):
    page = watched(site, width=1000, height=800)
    page.evaluate(
        """() => document.querySelectorAll("#open [name^='col-']:not(:checked)")
            .forEach((box) => box.click())"""
    )
    page.locator("#open table.main thead button").last.focus()
    hidden = []
    for _ in range(40):
        page.keyboard.press("Shift+Tab")
        place = page.evaluate(
            """() => {
                const head = document.activeElement.closest('thead th:not(:first-child)');
                const first = document.querySelector('#open table.main thead th');
                const { left } = document.activeElement.getBoundingClientRect();
                return head && [head.textContent, left - first.getBoundingClientRect().right];
            }"""
        )
        if place is None:
            break
        hidden += [place] if place[1] < 4 else []  # the outline too
    assert hidden == []


def test_lines_of_teachers_and_chance_are_named_beside_all_other_names(watched, committed_page):
    page = watched(committed_page)
    names = ", ".join(page.locator("#open .of-teacher").all_text_contents()).split(", ")
    assert len(names) == page.locator("#open .pareto line.teacher").count() > 1
    assert {"whisper_tiny_en", "chance"} <= {name.removeprefix("teacher: ") for name in names}
    apart(boxes_of(page, "#open .of-teacher, #open .dot text"))
    assert page.locator("#open .of-teacher ~ line.teacher").count() == 0  # no line crosses a name


def test_the_skip_link_keeps_filters_and_view(page, site):
    page.goto(site + "#v=superb&q=distil&s=-name")
    page.reload()
    shown, url = names(page, "superb"), page.url
    page.focus(".skip")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "superb"
    assert page.url == url and names(page, "superb") == shown


def test_an_address_of_names_that_every_object_has_shows_the_defaults(page, site):
    for name in ("constructor", "__proto__", "toString"):
        keys = "&".join(f"{key}={name}" for key in "vrsxyncdh")
        for address in (keys, name):
            page.goto(f"{site}#{address}")
            page.reload()
            assert page.locator("#open table.main").is_visible() and len(names(page)) == ROWS
            assert page.input_value("#open [name=r]") == page.input_value("#open [name=n]") == ""


def test_figure_frontier_and_exports(page, tmp_path):
    assert page.locator("#open .dot.on").count() > 0
    boxes = boxes_of(page, "#open .dot text")
    assert len(boxes) > 5
    apart(boxes)
    assert page.locator("#open polyline.curve").count() == 2  # subnets of two supernets
    page.select_option("#open [name=x]", "macs")
    assert "MACs" in page.locator("#open svg.pareto").get_attribute("aria-label")
    for name, start in (("svg", b"<svg"), ("png", b"\x89PNG")):
        with page.expect_download() as waiting:
            page.click(f"#open [name={name}]")
        waiting.value.save_as(tmp_path / name)
        assert (tmp_path / name).read_bytes().startswith(start)
    assert b"href" not in (tmp_path / "svg").read_bytes()


def test_downloads(page, tmp_path):
    page.select_option("#open [name=f]", "pruned")
    menu(page, "Columns")
    page.check("#open [name=col-provenance]")
    for name in ("csv", "bib"):
        with page.expect_download() as waiting:
            page.click(f"#open [name={name}]")
        waiting.value.save_as(tmp_path / name)
    lines = list(csv.DictReader((tmp_path / "csv").read_text("utf-8").splitlines()))
    assert [line["model"] for line in lines] == names(page)
    assert all(line["track"] == "open" and line["condition"] == "clean" for line in lines)
    assert {line["provenance"] for line in lines} == {"published by the authors"}
    for line in lines:
        low, value, high = (float(line[f"asr.cer{end}"]) for end in (".low", "", ".high"))
        assert low < value < high
    entries = (tmp_path / "bib").read_text("utf-8")
    assert "title = {{Slim-SUPERB}" in entries and "title = {{SUPERB}" in entries
    assert entries.count("\n  author = ") == entries.count("\n  year = ") == 4  # and two papers
    assert entries.count("@") == 4


def test_a_condition_is_seen_in_both_tables(page):
    """The heads of the tables below choose it; rows there follow filters and order."""
    clean = column(page, "ks.accuracy")
    button = page.locator("#open .robust th[data-n='ladder-music'] button")
    button.click()
    assert page.input_value("#open [name=n]") == "ladder-music"
    under = column(page, "ks.accuracy")
    assert under != clean and len(numbers(under)) == ROWS
    assert page.locator("#open .robust tr[data-k]:visible").count() == ROWS
    page.fill("#open [name=q]", "v23")
    page.evaluate(PAINTED)
    assert page.locator("#open .robust tr[data-k]:visible").count() == 1
    page.click("#open [name=reset]")
    assert column(page, "ks.accuracy") == clean  # the same nodes as before
    page.select_option("#open [name=r]", "sid")
    curves = page.locator("#open .curves figure .curve-plot")
    assert curves.count() == 2  # environment and music, four rungs each
    assert curves.first.locator("polyline").count() == 4
    assert page.locator("#open .key polyline").count() == 4


def test_a_mean_moves_in_the_main_table_as_in_those_below(watched, committed_page):
    """Both hold it against the same tasks on clean speech; some conditions lack tasks."""
    page = watched(committed_page)
    heads = page.locator("#open .robust th[data-n]:not([data-n=clean])")
    for name in heads.evaluate_all("heads => heads.map((head) => head.dataset.n)"):
        page.select_option("#open [name=n]", name)
        page.evaluate(PAINTED)
        pairs = page.evaluate(CHANGES, name)
        assert len(pairs) > 1
        assert all(abs(above - below) <= 1 for above, below in pairs)  # digits: 0 and 1


def test_revoked_rows_are_struck_and_ranked_nowhere(page):
    row = page.locator("tr.revoked")
    assert row.count() == 1 and "it saw the test set" in row.text_content()
    assert row.locator("td b").count() == row.locator("[class*=q]").count() == 0
    assert page.locator("#open .dot.on[href='#open-distilhubert-v1']").count() == 0


def test_without_scripts(watched, site):
    page = watched(site, java_script_enabled=False)
    assert page.locator("#open table.main tbody tr:not(.head):visible").count() == ROWS
    assert page.locator("#superb table.main tbody tr:not(.head):visible").count() > 20
    assert page.locator("#open .tools").is_hidden()
    assert page.locator("#open svg.pareto .dot").count() > 20
    assert page.locator("#open .robust table.heat tbody tr").count() == ROWS
    assert heads_shown(page) == 10
    page.check("#open input.every")
    assert heads_shown(page) > 15
    page.locator("#open details.up summary").first.click()
    assert page.locator("#open details.up[open] .tasks").is_visible()


def test_a_tablet_has_parameters_the_mean_and_three_scores(watched, site):
    page = watched(site, width=768, height=1000)
    assert heads_shown(page) == 6
    shown = page.locator("#open table.main thead tr.heads th:visible").all_text_contents()
    assert shown[0] == "Model" and "Parameters" in shown[2]
    assert page.evaluate("document.documentElement.scrollWidth") <= 768
    main = page.locator("#open table.main").bounding_box()
    assert main["x"] + main["width"] <= 768


def test_a_telephone_has_a_card_a_row(watched, site):
    page = watched(site, width=360, height=740, color_scheme="dark")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    card = page.locator("#open .main tbody tr").first
    box = card.bounding_box()
    assert box["width"] < 345 and 120 < box["height"] < 260 and box["y"] < 340
    assert page.locator("#open [name=n]").is_hidden()
    page.locator("#open [name=options]").click()
    assert page.locator("#open [name=n]").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    box = card.bounding_box()
    for cell in card.locator("td:visible").all():
        inner = cell.bounding_box()
        assert box["x"] <= inner["x"] and inner["x"] + inner["width"] <= box["x"] + box["width"]
        label = cell.evaluate("node => getComputedStyle(node, '::before').content")
        assert re.fullmatch(r'"\w.+"', label)
        assert 0 <= cell.evaluate(SPACE_AFTER_NUMBER) < 12  # also below a label that fills the line
    small = page.evaluate(
        """() => [...document.querySelectorAll('#open button, #open select, #open summary')]
            .filter((node) => node.checkVisibility())
            .map((node) => node.getBoundingClientRect())
            .filter((box) => box.width < 24 || box.height < 24).length"""
    )
    assert small == 0
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 22, 26)"


def test_titles_of_axes_lie_within_the_picture(watched, committed_page):
    """Of the committed board, whose heads say more than an axis has room for."""
    for scripts in (True, False):
        page = watched(committed_page + "#v=superb", java_script_enabled=scripts)
        picture = page.locator("#superb figure svg").first
        outer = picture.bounding_box()
        for text in picture.locator("text[transform]").all():
            inner = text.bounding_box()
            assert outer["y"] <= inner["y"]
            assert inner["y"] + inner["height"] <= outer["y"] + outer["height"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(browser, site, scheme):
    """Of three rows a table, with both tracks, the comparison, a menu and sections open."""
    from axe_playwright_python.sync_playwright import Axe

    rules = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
    if scheme == "dark":  # of the rules, one is about colours
        rules = {"type": "rule", "values": ["color-contrast"]}
    page = browser.new_page(viewport={"width": 1400, "height": 900}, color_scheme=scheme)
    page.goto(site + "#n=ladder-music&c=open-distilhubert-v2~open-distilhubert-v4")
    page.evaluate(
        """() => {
            const all = (name) => [...document.querySelectorAll(name)];
            all('.view').forEach((view) => { view.hidden = false; });
            all('details').forEach((details, at) => { details.open = at < 8; });
            all('tbody').forEach((body) => [...body.rows].slice(3).forEach((row) => row.remove()));
            all('details.up:not([open])').slice(3).forEach((details) => details.remove());
        }"""
    )
    violations = Axe().run(page, options={"runOnly": rules}).response["violations"]
    lines = [f"{v['id']} {v['impact']}: {v['nodes'][0]['html'][:200]}" for v in violations]
    assert lines == []
    page.close()
