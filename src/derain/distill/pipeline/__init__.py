"""Candidates on their way from a manifest to kept and dropped rows."""
