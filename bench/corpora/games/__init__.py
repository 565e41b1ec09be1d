"""The two games of the embedded corpus: readers of their containers, and its committed tables.

`python -m tools tables` writes the tables by the rules in `tools/corpus`.
"""
