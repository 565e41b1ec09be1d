"""From the name of an upstream to a frozen module with a known identity.

`catalog` finds cards, `weights` and `model_files` find files, `loader` builds the module,
`identity` names and digests it, `modifiers` quantises it. Others use `loader.load_upstream` and
`loader.Loaded`.
"""
