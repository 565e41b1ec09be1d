"""The upstream pass and the store of what it gave.

`passes` runs an upstream, `store` and `shard_index` keep its hidden states on disk, `rows` reads
them for training, `weighted_sum` combines layers, `locks` lets one of several processes work.
Others use `passes.Engine`, `store.FeatureStore` and `rows.Rows`.
"""
