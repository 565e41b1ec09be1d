"""Recipes: how compressed upstreams are made. One objective a file, one YAML a model."""
