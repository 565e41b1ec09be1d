"""Layouts of published weights, one a file; `upstreams.formats.layout` finds them by scanning."""
