"""Gather a bundle for the board, verify it, accept it.

`submit` packs a bundle, `verify` checks it (texts, records, heads and costs, in a file each),
`rerun` runs parts of it from the weights, `accept` writes it to the board. Others use
`submit.submit` and `verify.check`.
"""
