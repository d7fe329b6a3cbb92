"""How well a model does: scores per picture and tables by rain type."""
