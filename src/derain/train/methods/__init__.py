"""Training methods: what a run learns and how, each in a file of its own and named in `registry`."""
