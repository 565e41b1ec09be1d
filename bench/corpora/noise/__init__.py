"""Noise that Debian packages carry.

`packaged` fetches noise sources, seen and unseen apart. `bench.conditions.noise_sources` and
`bench.corpora.embedded.prompts` use it.
"""
