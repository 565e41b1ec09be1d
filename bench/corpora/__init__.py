"""Corpora, one file each: a folder or package on disk becomes checked manifests."""
