"""Six questions of a reader; the page of the committed records answers each in three actions."""

import re

import pytest

from bench.metrics.statistics import holm
from leaderboard.board.columns import usual_cpu
from leaderboard.board.ranking import compare
from leaderboard.page.costs import TITLES
from leaderboard.page.utterances import committed_utterances

CONDITION = "ladder-environment"


@pytest.fixture
def view(committed):
    return next(view for view in committed.views if view.key == "open")


class Reader:
    """Counts what a reader does on a page."""

    def __init__(self, page):
        self.page, self.actions = page, 0

    def act(self, action, *words):
        self.actions += 1
        action(*words)
        return self

    def head(self, text):
        return self.page.locator("#open table.main thead button", has_text=text)

    def row(self, name):
        return self.page.locator("#open table.main tbody tr", has=self.page.locator(
            f"a:text-is('{name}')")).first  # fmt: skip


@pytest.fixture
def reader(watched, committed_page):
    person = Reader(watched(committed_page))
    yield person
    assert person.actions <= 3


def cell(row, column, view):
    at = [item.key for item in view.columns].index(column)
    return row.locator("td").nth(at)


def test_which_model_under_two_million_parameters_is_best_for_keywords_in_noise(reader, view):
    page = reader.page
    reader.act(page.select_option, "#open [name=n]", CONDITION)
    reader.act(page.fill, "#open [name=p]", "2")
    reader.act(reader.head("KS accuracy").click)
    part = next(table for table in view.tables if table.name == CONDITION).tasks["ks"]
    small = [row for row in view.rows if row.competes and row.params <= 2e6]
    measured = sorted(
        (row for row in small if row.key in part.scores),
        key=lambda row: -part.scores[row.key].value,
    )
    rows = page.locator("#open table.main tbody:not(.controls) tr:visible")
    assert rows.count() == len(small) > len(measured) > 1
    for at, row in enumerate(measured):
        text = cell(rows.nth(at), "ks.accuracy", view).text_content()
        score, loss = part.scores[row.key], part.losses[row.key]
        shown = re.fullmatch(r"(?:[+\u2212](\d+) %)?(\d+\.\d\d)", text)
        assert float(shown[2]) == pytest.approx(100 * score.value, abs=0.011)
        assert float(shown[1]) == pytest.approx(100 * loss.value, abs=0.6)
    last = rows.nth(len(small) - 1)
    assert last.evaluate("node => node.classList.contains('absent')")
    shown = last.locator("th small").evaluate("n => getComputedStyle(n, '::after').content")
    assert "not measured in this condition" in shown


def test_is_one_model_better_than_another(reader, view):
    rows = [row for row in view.rows if row.competes and row.kind == "measured"]
    one, two = rows[0], next(row for row in rows[::-1] if len(row.main_metrics) == len(view.tasks))
    for row in (one, two):
        reader.act(reader.row(row.name).locator(".pin").click)
    pairs = {
        column: compare(one.scores[key], two.scores[key])
        for column in view.columns
        if column.metric and (key := (column.task, column.metric.name, "clean"))
    }
    pairs = {column: pair for column, pair in pairs.items() if pair is not None}
    p_values = holm([pair.p_value for pair in pairs.values()])
    lines, winners = reader.page.locator(".compare tbody tr"), 0
    for (column, pair), p_value in zip(pairs.items(), p_values, strict=True):
        line = lines.filter(has=reader.page.locator(f"th:has-text('{column.title}')")).first
        cells = line.locator("td").all_text_contents()
        texts = re.findall(r"[+\u2212][\d.]+", cells[2])
        expected = [pair.difference, pair.high, pair.low]  # the page has the second minus the first
        assert [float(text.replace("\u2212", "-")) for text in texts] == pytest.approx(
            [-column.metric.scale * item for item in expected], abs=0.03
        )
        shown = re.search(r"p ([=<]) ([\d.]+)", cells[3])
        assert float(shown[2]) == pytest.approx(max(p_value, 0.001), abs=0.002)
        better = two if (pair.difference < 0) == column.higher_is_better else one
        words = f"{better.name} is better" if p_value < 0.05 else "not told apart"
        assert cells[3].startswith(words)
        winners += p_value < 0.05
    assert len(pairs) > 5 and winners > 0
    assert reader.page.locator(".compare td b").count() == winners


def test_what_compression_costs(reader, view):
    page = reader.page
    reader.act(page.select_option, "#open [name=f]", "once-for-all")
    reader.act(page.select_option, "#open [name=x]", "macs")
    reader.act(page.select_option, "#open [name=y]", "ks.accuracy")
    family = [row for row in view.rows if row.family == "once-for-all" and row.competes]
    shown = [row for row in family if ("ks", "accuracy", "clean") in row.scores]
    picture = page.locator("#open svg.pareto")
    assert picture.locator(".dot").count() == picture.locator(".whisker").count() == len(shown)
    lines = picture.locator(".of-teacher").all_text_contents()
    teachers = {row.teacher for row in shown}
    assert ", ".join(lines).startswith("teacher: ") and len(teachers) == 2
    marked = ", ".join(lines).removeprefix("teacher: ").split(", ")
    assert sorted(marked) == sorted([*teachers, "best control", "chance"])
    supernets = {row.name.partition("@")[0] for row in shown}
    assert picture.locator("polyline.curve").count() == len(supernets)
    for axis in ("params", "macs", "time", "bytes"):
        assert picture.page.locator(f"#open [name=x] option[value={axis}]").count() == 1


def test_what_it_costs_on_a_named_cpu(reader, view):
    page = reader.page
    table, cpu = page.locator("#open-costs"), usual_cpu(view.rows)
    row = next(row for row in view.rows if row.cost and row.cost.cpu_text == cpu)
    line = table.locator(f"tr[data-k='{row.key}']").text_content()
    reports = {"float32": row.cost} | {TITLES[name]: x for name, x in row.modified_costs.items()}
    for name, cost in reports.items():
        assert name in table.locator("thead").text_content()
        assert f"{cost.timing.rtf:.4f}" in line and f"{cost.stored_bytes / 1e6:.1f}" in line
    assert f"{cpu}, 1 thread" in table.locator("caption").text_content()
    assert (row.cost.measured_on or "no date") in line
    reader.act(page.locator("#open .menu summary", has_text="Columns").click)
    reader.act(page.check, "#open [name='col-time']")
    assert row.cost.cpu_text in reader.head("Real-time factor").text_content()
    reader.act(cell(reader.row(row.name), "time", view).click)
    text = page.locator("#number").text_content()
    for cost in reports.values():
        assert f"real-time factor {cost.timing.rtf:.4f}" in text
        assert f"on {cost.cpu_text}, 1 thread" in text
    assert len(re.findall(r"factor (\d\.\d+)", text)) == len(reports)  # one for one precision


def test_what_a_number_is(reader, view):
    row = view.rows[0]
    reader.act(cell(reader.row(row.name), "ks.accuracy", view).click)
    text = reader.page.locator("#number").text_content()
    for part in ("95 % interval", "Rank", "Chance", "mean of 3 seeds, n = ", "sha256", "Recipe",
                 "protocol 20", "Learning rates on dev", "Layer weights", "seed 0, 1, 2",
                 f"slim-superb eval '{row.name}' ks --track open --seeds 0,1,2",
                 "Learning curve", "Predictions"):  # fmt: skip
        assert part in text
    assert reader.page.locator("#number svg.bars").count() == 2
    shares = row.right_shares["ks"]  # what is committed of predictions: which utterances are right
    assert 100 * shares.mean() == pytest.approx(
        100 * row.scores["ks", "accuracy", "clean"].value, abs=0.1
    )
    all_right, none = (shares == 1).sum(), (shares == 0).sum()
    part = len(shares) - all_right - none
    summary = f"{len(shares)}: wholly right {all_right}, in part {part}, not at all {none}"
    reader.act(reader.page.locator("#number summary", has_text=summary).click)
    lines = reader.page.locator("#number details tbody tr").all_text_contents()
    ids = {item.id: at for at, item in enumerate(committed_utterances("open", "ks"))}
    assert all(shares[ids[re.match(r"queen-\w+-w\d+", text)[0]]] == 0 for text in lines[:5])


def test_whether_a_column_can_be_believed(reader, view):
    page = reader.page
    lines = {
        line.get_attribute("data-r"): line.locator("td").all_text_contents()
        for line in page.locator("#open tr.ref").all()
    }
    assert list(lines) == ["chance", "control", "resolution"]
    for at, column in enumerate(view.columns):
        for name, texts in lines.items():
            value = getattr(column.belief, name, None) if column.metric else None
            if value is not None:
                assert float(texts[at]) == pytest.approx(value, abs=0.006)
    flat = [c.key for c in view.columns if c.belief and c.belief.tells_apart is False]
    heads = page.locator("#open .main thead th", has_text="tells no rows apart")
    assert heads.count() == len(flat)  # none on this board: every column tells some rows apart
