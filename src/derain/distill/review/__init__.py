"""Pages on which a person accepts references and votes on candidates."""
