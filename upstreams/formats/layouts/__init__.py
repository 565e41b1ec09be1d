"""Layouts of published weights, one per module; `upstreams.formats.layout` lists the modules."""
