"""The scenes of the next bundled model: one thing with a shape of its own, in a place that suits it. NumPy only."""
