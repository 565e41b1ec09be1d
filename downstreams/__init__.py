"""How it is probed: downstream heads and task cards."""
