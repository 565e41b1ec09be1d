"""Decide which clip of the games is in which table, with which target; write the committed tables.

`tables` joins the rules of the tasks, `table_writer` writes their result into the files that
`bench.corpora.games.table_files` reads.
"""
