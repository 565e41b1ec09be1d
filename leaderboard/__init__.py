"""What came out: the board, a pure function of committed records (imports no torch)."""
