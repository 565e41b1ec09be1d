"""From predictions and references to counts, rates, intervals and tests.

`metric` lists the metrics, `items` holds counts, `edits` and `detection` count, `resamples` is the
bootstrap, `draws` stores it, `statistics` tests differences, `degradation` compares with clean,
`plots` draws scores. Others use `metric.METRICS`, `resamples.resample` and `statistics.paired`.
"""
