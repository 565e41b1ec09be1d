"""Train downstream heads on features; dev selects.

`fit` trains and selects, `heads` holds a grid of learning rates and seeds side by side, `schedule`
and `batching` say which utterances an update sees. Others use `fit.Trainer` and
`heads.Probe`.
"""
