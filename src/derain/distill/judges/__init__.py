"""Judges of whether rain looks real, and how their votes are joined."""
