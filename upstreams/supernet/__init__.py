"""Subnets of a once-for-all encoder (supernet).

`subnet` names and cuts one, `subnet_counts` counts parameters and multiply-accumulates without
building it. Others use `subnet.cut` and `subnet_counts.SubnetFamily`.
"""
