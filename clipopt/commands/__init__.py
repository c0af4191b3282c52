"""One file = one command. `clipopt.cli` puts them on the command line.

A command's file holds its settings, and imports nothing that takes time: its help and a missing prompt are told at
once. What carries the settings out is imported where it is called.
"""
