"""The command line: each command parses, calls one function of another package, and prints what it returns."""
