"""What each command does with its options: check everything, then work."""
