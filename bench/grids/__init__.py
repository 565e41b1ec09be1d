"""Grids of runs: `cells` lists them, `worker` does one after another, `control` starts workers.

All that workers share lies in the folder of records, so they may run on any machines that see it.
Others use `spec.read_grid` and `control`.
"""
