"""Make the pages and measurements that the maintainers commit.

Each file is one command of `python -m tools`, built like those of `bench.commands`.
"""
