"""Pages on which a person sorts references and votes on pairs, and what the votes say about the judges."""
