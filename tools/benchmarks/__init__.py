"""How fast it is: one module a question, found by scanning this folder.

A module has `TITLE` and `measure(setting) -> str`, which gives Markdown. Modules whose name starts
with an underscore are shared.
"""
