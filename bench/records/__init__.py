"""Files that a run writes or that are sent to the board; imports no torch.

`record` is the result of one run, `failure` of a failed cell, `cost_report` the costs of an
upstream, `bundle` a submission, `standing` the status of a row, `checkout` git, `curves` a log.
Others use `record.Record`, `record.read_record`, `record.write_record`, `cost_report.CostReport`.
"""
