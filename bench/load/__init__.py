"""From the name of an upstream to a frozen module with a known identity.

`loader` shows the way: `catalog` finds the card, `files` finds the files, `downloads` fetches them,
`modifiers` changes the number format. Others use `loader.load_upstream` and `loader.Loaded`.
"""
