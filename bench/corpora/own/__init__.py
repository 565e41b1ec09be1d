"""Corpora of users, described by task cards of their own (track `own`).

`card` finds a card; `rows` and the layouts list its utterances; `splits`, `sounds` and `corpus`
prepare manifests like those of every other corpus; `survey` looks at a folder and writes a card.
"""
