"""Rows, columns and statistics of the board; imports no torch.

`reading` makes rows of records, `columns` defines what is shown, `ranking` and `compare` test
differences, `published` holds numbers of papers. Others use `rows.Row`,
`reading.read_results` and `compare.compare_rows`.
"""
