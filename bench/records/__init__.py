"""What a run writes, and what is sent to the board; imports no torch.

`record` is the result of one run, `bundle` what a submitter sends, `standing` how a row stands on
the board, `checkout` what git says of a folder, `curves` a log for TensorBoard. Others use
`record.Record`, `record.read_record` and `record.write_record`.
"""
