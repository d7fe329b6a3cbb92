"""Answers of models: cached under who was asked what, and a circuit breaker for models that are down."""
