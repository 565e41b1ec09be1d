"""Pages and pictures of `docs/` that are made from committed records.

`tools.commands` calls these files.
"""
