"""What corpora from Debian packages share.

`debian` fetches and opens packages, `clip_sound` converts clips, `corpus_folder` and `corpus_files`
keep a prepared folder whole, `reader`, `text` and `notes` hold lines, transcripts and notices.
"""
