"""What a run says to people: `run_report` is one run in full, `run_table` is a line for each."""
