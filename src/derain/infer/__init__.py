"""Loaded models that restore pictures, in memory and from file to file; facts of models and photographs."""
