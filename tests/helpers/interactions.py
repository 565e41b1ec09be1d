"""What a reader does with the page, and how long the page is busy with it."""

from typing import Any

FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
TIMES = 5  # the quickest of so many: what the page needs, not what the machine does beside it
PARTS = ("ScriptDuration", "RecalcStyleDuration", "LayoutDuration")

_HEAD = "document.querySelector('#open table.main thead th:nth-child(2) button')"
ACTIONS = {
    "sort": f"{_HEAD}.click()",
    "search": "const q = document.querySelector('#open [name=q]'); q.value = q.value ? '' : 'v1';"
    "q.dispatchEvent(new Event('input'))",
    "filter": "const f = document.querySelector('#open [name=f]');"
    "f.value = f.value ? '' : 'pruned'; f.dispatchEvent(new Event('change'))",
    "pin": "document.querySelector('#open .pin').click()",
    "another condition": "const n = document.querySelector('#open [name=n]');"
    "n.selectedIndex = 1 - n.selectedIndex; n.dispatchEvent(new Event('change'))",
    "a number": "const d = document.querySelector('#number');"
    "d.open ? d.close() : document.querySelector('#open .main tbody tr').cells[1].click()",
    "hide a column": "document.querySelector(\"#open [name='col-asr.wer']\").click()",
    "another axis": "const y = document.querySelector('#open [name=y]');"
    "y.selectedIndex = 1 - y.selectedIndex; y.dispatchEvent(new Event('change'))",
    "another task": "const r = document.querySelector('#open [name=r]');"
    "r.selectedIndex = 1 - r.selectedIndex; r.dispatchEvent(new Event('change'))",
}
# What the browser itself needs for the table, scripts aside: the measure of a ratio.
LAY_OUT = (
    "const t = document.querySelector('#open table.main'), p = t.parentNode, n = t.nextSibling;"
    "t.remove(); p.insertBefore(t, n)"
)


class BusyTime:
    """Milliseconds of script, style and layout, on the clock of the page's own thread.

    A machine that is busy beside it does not count.

    Args:
        page: of playwright.
    """

    def __init__(self, page: Any) -> None:
        self._page = page
        self._session = page.context.new_cdp_session(page)
        self._session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def _busy_ms(self) -> float:
        found = self._session.send("Performance.getMetrics")["metrics"]
        return 1000 * float(sum(item["value"] for item in found if item["name"] in PARTS))

    def every(self, action: str) -> list[float]:
        """Milliseconds of each of some tries of an action, layout included."""
        return [self.once(action) for _ in range(TIMES)]

    def once(self, action: str) -> float:
        """Milliseconds of an action, layout included."""
        start = self._busy_ms()
        self._page.evaluate(f"() => {{ {action}; document.body.getBoundingClientRect(); }}")
        return self._busy_ms() - start

    def quickest(self, *actions: str) -> list[float]:
        """The least milliseconds of each action, tried in turn: what disturbs one disturbs all."""
        rounds = [[self.once(action) for action in actions] for _ in range(TIMES)]
        return [min(tries) for tries in zip(*rounds, strict=True)]
