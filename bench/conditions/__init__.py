"""Test sets that are distorted or out of domain, and scores on them.

`conditions.yaml` and `catalogue` define them, `sets` makes a test set, `distorter` makes its sound,
`scorer` scores trained heads, `scores` sets them beside clean. Others use
`catalogue.catalogue`, `scorer.score_conditions` and `distorter.make_distorter`.
"""
