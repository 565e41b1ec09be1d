"""Layouts of published weights, one a file; `upstreams.layout` finds them by scanning."""
