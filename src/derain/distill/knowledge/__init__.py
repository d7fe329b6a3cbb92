"""The knowledge base of real rainy photographs, and the search in it."""
