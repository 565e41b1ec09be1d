"""What all recipes share: the training loop and what it reads and writes.

`loop` trains, `objective` is the contract of a method, `stream` reads clips, `settings` holds the
options, `export` writes weights and card, `ship` copies them into this project.
"""
