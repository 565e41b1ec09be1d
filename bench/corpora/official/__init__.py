"""What the corpora of official folders have in common: layout, manifests, downloads."""
