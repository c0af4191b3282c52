"""Pictures of a generator from text."""
