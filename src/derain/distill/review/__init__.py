"""Pages on which a person reviews references and votes on pairs, and the agreement of judges and persons."""
