"""Upstreams, the speech encoders that the benchmark measures.

`cards` describes them and names the `load` function of each. `encoder` is the shared module,
`importers` and `formats` read published weights, `sources` runs models from elsewhere.
"""
