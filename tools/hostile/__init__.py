"""Fuzzing of everything that reads files.

`fuzz_readers` lists readers with a whole file each, `fuzz` damages the files and reads them.
"""
