"""From predictions and references to counts, rates, intervals and tests.

`metric` lists the metrics, `items` holds counts, `edits` and `detection` count, `chance` guesses
without the sound. `jackknife` leaves out one speaker at a time, `statistics` makes intervals and
tests of it, `item_file` stores counts, `plots` draws scores.
"""
