"""The page and its exports, made of the board.

`build` makes everything, `render`, `picture` and `sections` the HTML, `export` the other formats,
`publish` the folder to serve. `assets` holds templates, styles and scripts. Others use `build`.
"""
