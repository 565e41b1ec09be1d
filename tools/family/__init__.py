"""The page of a teacher and its students, `docs/recipes-results.md`, and its pictures.

`members` sorts the rows of a board by their relation to the teacher; `page` writes scores, shares
of the teacher's gain and losses; `claims` tests the claims of the papers; `ladders` has losses by
severity; `plot` draws.
"""
