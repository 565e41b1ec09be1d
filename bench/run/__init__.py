"""One run: from what was asked to its record.

`spec` resolves what was asked, `plan` says what it will take, `stages` and `job` compute it, `run`
does all of it, `report` prints it. Others use `run.run`, `spec.RunSpec` and `job.open_job`.
"""
