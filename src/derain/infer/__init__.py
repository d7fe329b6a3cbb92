"""Loaded models that restore pictures: in memory, from file to file, and what can be said of them."""
