"""Official corpora that the user has on disk, one file each, found by its name.

A module reads the corpus' folder into tables; `_layout` describes folders, `_manifest` prepares the
manifests, `_hub` and `_download` get the files. Task cards name a corpus by its file name.
"""
