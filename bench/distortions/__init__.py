"""Distortions, one file an effect, found by its file name.

An effect has `distort(wav, rng, *, ...)`: samples (S,) at 16 kHz and a numpy generator in, samples
out, the input unchanged. A parameter annotated `Noise` takes a noise source by name. `KEEPS_BAND`:
band-limited sound stays so. `KEEPS_LENGTH`: False where time is stretched. `LIBRARIES`:
distributions whose version may change a sample. Files that begin with `_` hold what effects share.
"""
