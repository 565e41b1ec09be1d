"""The cards of track superb with little to train: smaller heads, fewer updates."""

import yaml

from bench import registry

# What a full run needs days for: fewer updates, smaller layers; all else is the card's own.
SMALL = {"steps": 6, "eval_every": 3, "batch_size": 4}
SMALL_HEADS = {"hidden": 8, "projection": 8, "width": 8, "pooled_width": 8}


def make_small_cards(folder, monkeypatch):
    """Write them below a folder, which becomes where tasks are found; the home lies there, too."""
    source = registry.TASKS / "superb"
    tasks = folder / "tasks" / "superb"
    tasks.mkdir(parents=True)
    for path in source.glob("*.yaml"):
        card = yaml.safe_load(path.read_text())
        if path.stem != "track":
            card["recipe"] |= SMALL
            conf = card["head_conf"]
            card["head_conf"] = {key: SMALL_HEADS.get(key, value) for key, value in conf.items()}
            if "crops" in card["recipe"]:
                card["recipe"]["crops"] = {"seconds": 2.2, "count": 2}
            if "explore" in card["recipe"]:
                card["recipe"]["explore"] = 0.5
        (tasks / path.name).write_text(yaml.safe_dump(card))
    monkeypatch.setattr(registry, "TASKS", tasks.parent)
    monkeypatch.setenv("SLIM_SUPERB_HOME", str(folder / "home"))
