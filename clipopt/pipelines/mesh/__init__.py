"""Meshes from text."""
