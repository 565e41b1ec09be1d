"""The look of the terminal: tables that fit its width, colour, and units of costs.

Texts leave through `bench.progress`, which escapes them. Outside a terminal a table is TSV.
"""
