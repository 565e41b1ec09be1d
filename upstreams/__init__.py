"""What is measured: encoders, their cards, and the importers of published checkpoints."""
