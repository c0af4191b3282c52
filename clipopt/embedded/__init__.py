"""The offline models: their words, what reads and writes these, and their weights.

`recipes/embedded`, in a checkout, makes the weights again.
"""
