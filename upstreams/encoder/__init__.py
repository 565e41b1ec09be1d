"""The encoder from which all transformer upstreams are built.

`config` describes its shape, `encoder` is the module, `state` holds weights in our layout and
`taps` selects hidden states. Others use `config.EncoderConfig` and `state.build`.
"""
