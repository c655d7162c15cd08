"""The maths of diffusion, as in the papers."""
