"""Train downstream heads on features; dev selects.

`fit` trains and selects, `heads` holds a grid of learning rates and seeds, `schedule` and
`batching` choose the utterances of an update. Others use `fit.Trainer` and `heads.Probe`.
"""
