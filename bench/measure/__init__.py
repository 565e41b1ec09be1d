"""What an upstream costs, and whether it keeps the contract.

`cost` counts parameters and multiply-accumulates (`macs`), `timing` measures seconds and memory,
`check` tests the contract, `export` writes ONNX. Others use `cost.measure` and `check.check`.
"""
