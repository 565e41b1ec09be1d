"""Recipes: training of compressed upstreams. One method a file, one YAML a model."""
