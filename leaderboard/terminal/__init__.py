"""Runs of one's own beside the shipped board, for the terminal.

`own_runs` finds records, `comparison` compares models, `yardsticks` says what a result is to be
held against.
"""
