"""The encoder that all transformer upstreams are built from.

`config` describes its shape, `encoder` is the module, `state` its weights in our layout, `taps`
which hidden states it gives; the rest are its parts. Others use `config.EncoderConfig` and
`state.build`.
"""
