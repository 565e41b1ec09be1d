"""The layer curve: what each hidden state of an upstream knows, by a probe without a seed.

`regression` fits and cross-validates the probe, `curve` runs it on the features of a task.
"""
