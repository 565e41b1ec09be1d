"""Parts that corpora from Debian packages share.

`debian` fetches and opens packages, `clip_sound` decodes clips, `recipe` identifies the code that
makes a corpus, `corpus_folder` and `corpus_files` manage its folder. `reader`, `text`, `rows` and
`notes` hold lines, transcripts, rows of tables and notices.
"""
