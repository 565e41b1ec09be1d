"""Gather a row for the board, verify what others send, accept it.

`submit` packs a bundle, `verify` computes again what it claims, `rerun` runs parts of it from the
weights, `accept` writes it to the board. Others use `submit.submit` and `verify.check`.
"""
