"""Engines that make pictures, latents, meshes, motions and films."""
