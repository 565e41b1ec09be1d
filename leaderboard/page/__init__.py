"""The page and its exports, made of rows.

`build` makes everything, `render` and `sections` the HTML, `export` the other formats, `publish`
the folder to serve. `assets` holds templates, styles and scripts. Others use `build.build_board`.
"""
