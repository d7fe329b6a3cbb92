"""derain: take the rain out of photographs."""

__version__ = "0.1.0"
