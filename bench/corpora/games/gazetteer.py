"""The entities that slots are made of: persons, items and places, named or pointed at.

Names alone (eighty were tried) are each heard five to twenty times in the training lines, too
seldom for a small model to learn any: no system got above the best constant guess. The words that
stand for persons, things and places are heard twenty to six hundred times. Written as in a
transcript.
"""

GAZETTEER: dict[str, tuple[str, ...]] = {
    "person": (
        *("YOU", "ME", "HE", "SHE", "WE", "THEY", "HIM", "HER", "THEM"),
        *("PEOPLE", "JOE", "KING"),
    ),
    "item": ("THIS", "THAT", "ONE", "ALL", "SOMETHING", "SKULL", "PLANE"),
    "place": ("HERE", "THERE", "OUT", "OVER", "AROUND", "BACK", "OFF", "JUNGLE", "TEMPLE"),
}
