"""The upstream pass and the store of what it gave.

`passes` runs an upstream, `store` and `shard_index` keep its hidden states on disk, `rows` reads
them
for training, `weighted_sum` combines layers, `leases` lets one of several processes do a thing.
Others use `passes.Engine`, `store.FeatureStore` and `rows.Rows`.
"""
