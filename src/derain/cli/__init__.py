"""The command line: parse, call one function of the rooms below, print what it returns."""
