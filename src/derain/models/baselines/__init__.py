"""Networks of others, to compare ours with: one file each."""
