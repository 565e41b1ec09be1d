"""Grids and runs under stress: killed, on Ray, on Slurm.

Each file is a program that writes a page of `docs/`; the Makefile names those that run anywhere.
"""
