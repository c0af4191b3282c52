"""What is optimised: modules whose `forward()` takes nothing and returns a scene."""

from clipopt.params.image import Fourier, Pixels, Pyramid

__all__ = ["Fourier", "Pixels", "Pyramid"]
