"""From the name of an upstream to a frozen module with a known identity.

`loader` is the way: `catalog` finds the card, `files` finds or downloads the files, `loader` builds
the module, and `modifiers` changes its number format. Others use `loader.load_upstream`.
"""
