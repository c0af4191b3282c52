"""From a scene to pictures of it: pure kernels of explicit arguments, and samplers that draw those arguments."""
