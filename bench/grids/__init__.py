"""Grids of runs: planned as a graph of cells, done by workers that need nothing but folders."""
