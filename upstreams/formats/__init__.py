"""Checkpoint files of other frameworks.

`checkpoint` reads a file as data, `layout` finds which of `layouts` it follows and gives its
configuration and weights in our layout. Others use `checkpoint.read_checkpoint` and
`layout.find_layout`.
"""
