"""Subnets of once-for-all upstreams, for the command `subnets`.

`subnets` lists them without building any, `search` probes them within a budget, `tradeoff`
evaluates a set of them on a task; `Budget` and `Candidate` are shared.
"""
