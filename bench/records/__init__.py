"""Files that a run writes or that are sent to the board; imports no torch.

`record` is the result of one run, `cost_report` the costs of an upstream, `bundle` a submission,
`standing` the status of a row on the board, `checkout` git, `curves` a log for TensorBoard. Others
use `record.Record`, `record.read_record`, `record.write_record` and `cost_report.CostReport`.
"""
