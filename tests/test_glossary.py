"""The glossary stays short enough to be read: at most 35 terms, one line each."""

from pathlib import Path

GLOSSARY = Path(__file__).parents[1] / "docs" / "glossary.md"
MAX_TERMS = 35


def test_the_glossary_is_a_short_table_of_unique_terms():
    title, blank, header, rule, *rows = GLOSSARY.read_text(encoding="utf-8").splitlines()
    assert (title, blank) == ("# Glossary", "")
    assert (header, rule) == ("| term | meaning |", "|---|---|")
    assert 0 < len(rows) <= MAX_TERMS
    terms = []
    for row in rows:
        before, term, meaning, after = (cell.strip() for cell in row.split("|"))
        assert term and meaning and not before and not after, row
        terms.append(term.casefold())
    assert terms == sorted(set(terms))
