"""Pure tensor functions of shapes: no parameters, no files, no randomness."""
