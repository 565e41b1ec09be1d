"""Train a compressed upstream by a recipe.

`recipe` reads a recipe and its data, `teacher_states` stores a teacher's hidden states, `compress`
trains and writes weights and card. Others use `compress.compress` and `recipe.recipe_card`.
"""
