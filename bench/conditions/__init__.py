"""Test conditions (distorted or out-of-domain test sets), and scores of trained heads under them.

`conditions.yaml` defines them and `catalogue` reads it; `sets` builds a test set, `distorter` its
sound; `scorer` predicts, `scores` computes metrics, `report` and `listen` show the results.
"""
