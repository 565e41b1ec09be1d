"""Grids under stress: killed, on Ray, on Slurm, simulated.

Each file is a program that writes a page of `docs/`; the Makefile names those that run anywhere.
"""
