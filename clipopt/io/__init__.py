"""Read and write pictures, films, sounds, meshes, motions and rigs."""
