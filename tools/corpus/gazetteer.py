"""The entities of slots: words for persons, items and places, written as in a transcript.

Each of eighty proper names occurs only five to twenty times in the training lines, too seldom for a
small model: no system got above the best constant guess. The words below occur twenty to six
hundred times.
"""

GAZETTEER: dict[str, tuple[str, ...]] = {
    "person": (
        *("YOU", "ME", "HE", "SHE", "WE", "THEY", "HIM", "HER", "THEM"),
        *("PEOPLE", "JOE", "KING"),
    ),
    "item": ("THIS", "THAT", "ONE", "ALL", "SOMETHING", "SKULL", "PLANE"),
    "place": ("HERE", "THERE", "OUT", "OVER", "AROUND", "BACK", "OFF", "JUNGLE", "TEMPLE"),
}
