"""Which pairs of millions can be trusted: real rainy references, three-level retrieval, judges and their votes."""
