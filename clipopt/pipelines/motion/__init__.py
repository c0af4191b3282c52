"""Motions from text."""
