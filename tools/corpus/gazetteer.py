"""The entities of slots: nouns and names of persons, items and places, written as in a transcript.

They are content words that occur in at least ten lines of the training characters and at least once
outside them. Words that are often something else are left out (`BOY` is mostly a cry, `WORK` a
verb). Function words (`YOU`, `THAT`, `HERE`) are no entities: finding them tells little of what was
said. A person is who acts: `FLODA`, a company, is one too. An item is a thing, or what people ask,
think or tell (`IDEA`, `TIME`). With rarer nouns, of five training lines or more, small encoders
were near the best constant guess.
"""

GAZETTEER: dict[str, tuple[str, ...]] = {
    "person": (
        *("AMAZONS", "ANDERSON", "BOB", "DOCTOR", "FLODA", "FRIEND", "GUY", "GUYS", "JOE", "KING"),
        *("LOU", "MARY", "PEOPLE", "PILOT", "PRINCESS", "WITCH"),
    ),
    "item": (
        *("BOOK", "BOOKS", "COMIC", "CRYSTAL", "DAY", "DINOSAUR", "IDEA", "INFORMATION", "KEY"),
        *("NAME", "PACK", "PLANE", "QUESTIONS", "ROCKET", "SKULL", "STONE", "STUFF", "THING"),
        *("THINGS", "TIME"),
    ),
    "place": ("AMAZON", "JUNGLE", "PLACE", "TEMPLE", "VALLEY"),
}
