"""Checkpoint files of other frameworks.

`checkpoint` reads a file as data, `layout` converts weights of any of the `layouts` to ours. Others
use `checkpoint.read_checkpoint` and `layout.import_encoder`.
"""
