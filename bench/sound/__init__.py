"""Read, resample and write sound, and the tables that name utterances.

`audio` is the only place that opens sound files, `sox` repeats two effects of SoX, `manifests`
reads and writes tables of utterances and lists of trials, `torchaudio_guard` imports torchaudio.
Others use `audio.read_wav` and `manifests.read_table`.
"""
