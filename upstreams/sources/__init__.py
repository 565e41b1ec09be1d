"""Models from elsewhere: one module per kind of source, with a function `load(source)`.

`hf`, `onnx`, `pt2`, `torchscript`, `s3prl` and `python` (a builder in a card) are kinds, which
`bench.load` calls; `adapter` turns their models into upstreams.
"""
