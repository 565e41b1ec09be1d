"""Tables from the lines of two adventure games.

`queen_reader` and `drascula_reader` open the games, `alignment` verifies lines, `splits` divides
speakers, `keywords`, `labels`, `slot_phrases` and `speaker_trials` derive the tasks, `tables`
writes them. `bench.corpora.embedded.games` uses these files.
"""
