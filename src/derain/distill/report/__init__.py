"""One page about a finished run."""
