"""Key maps from published checkpoint formats to our encoder."""
