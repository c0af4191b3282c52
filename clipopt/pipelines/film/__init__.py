"""Films from text."""
