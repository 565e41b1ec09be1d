"""Subnets that are cut out of a once-for-all encoder.

`subnet` names and cuts one, `subnet_counts` counts its parameters and multiply-accumulates without
building it. Others use `subnet.cut` and `subnet_counts.Family`.
"""
