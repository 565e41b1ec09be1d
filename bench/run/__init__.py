"""One run: from its specification to its record.

`spec` resolves a specification, `plan` estimates it, `stages` and `job` compute it, `run` does all
of it, `result` builds the record. Others use `run.run`, `spec.RunSpec`.
"""
