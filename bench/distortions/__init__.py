"""Distortions, one file an effect, found by its file name.

A module that is an effect has a function `distort(wav, rng, *, ...)`: samples (S,) at 16 kHz and
a numpy generator in, samples out; a pure function of what it is given, that leaves its input alone.
Every parameter that is a physical quantity carries its unit in its name. A parameter annotated
`Noise` is named in `conditions.yaml` by the name of a noise source.

`KEEPS_BAND` says whether what is limited to a band stays so (the corpora are: see
`bench.conditions.distorter`);
`LIBRARIES` names the distributions whose version may change a sample; `KEEPS_LENGTH` is False where
time itself is stretched. Modules whose names begin with `_` are no effects.
"""
