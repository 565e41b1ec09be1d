"""Train a compressed upstream by a recipe.

`recipe` reads a recipe and the data that it names, `teacher_states` keeps a teacher's hidden
states,
`compress` trains and writes weights and card. Others use `compress.compress`.
"""
