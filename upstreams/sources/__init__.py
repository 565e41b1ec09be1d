"""Models from anywhere: one module a kind of source, with `load(source)`."""
