"""The upstream pass and the store of its features.

`passes` runs an upstream where `placement` puts it, `store` and `shard_index` write hidden states
to disk, `rows` reads them for training, `weighted_sum` combines layers, `locks` gives work to one
process at a time. Others use `store.FeatureStore` and `rows.Source`.
"""
