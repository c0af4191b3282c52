"""One file = one command. `clipopt.cli` puts them on the command line."""
