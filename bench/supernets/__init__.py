"""Subnets of once-for-all upstreams: list them, search them, trade size for score.

`subnets` counts candidates without building them, `search` looks for the best under a budget,
`tradeoff` evaluates a set of them. Commands use these three and nothing else does.
"""
