"""Fuzzing of everything that reads files, and the same evaluations with other threads.

`fuzz_readers` lists readers with a whole file each, `fuzz` damages the files and reads them;
`threads` compares records.
"""
