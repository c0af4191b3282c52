"""Pictures from text."""
