"""The command line: arguments in, printing out, no logic."""
