"""From predictions and references to counts, rates, intervals and tests.

`metric` lists the metrics, `items` holds their counts, `edits` and `detection` count,
`statistics` and `resamples` draw the bootstrap, `draws` stores it, `degradation` compares a
condition with clean. Others use `metric.METRICS` and `statistics.paired`.
"""
