"""Measure an upstream: its costs, and the contract of `bench.api`.

`cost` counts parameters and multiply-accumulates (`macs`), `timing` measures seconds and memory,
`check` tests the contract, with the card's figures (`claims`), `export` writes ONNX. Others use
`cost.measure` and `check.check`.
"""
