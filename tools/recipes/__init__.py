"""Pages about recipes: their learning curves, and two updates of each at full size."""
