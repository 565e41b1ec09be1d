"""Published models on our encoder: one module per family, with a function `load(source)`.

Cards name these functions (`upstreams.importers.MODULE:load`).
"""
