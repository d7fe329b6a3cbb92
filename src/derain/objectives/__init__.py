"""Objectives: losses as free functions of tensors."""
