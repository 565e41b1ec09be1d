"""Masked prediction of units without labels.

`units` clusters frames, `pretrain` is the objective (`pretrain:make`). Other recipes use its
`UnitHead` and `config_section`.
"""
