"""Rows, columns and statistics of the board; imports no torch.

`reading` reads records, `record_rows` and `published` make rows of them, `columns` defines the
cells, `ranking` and `compare` test differences. Others use `board`, `rows` and `columns`.
"""
