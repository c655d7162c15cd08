"""The demo checkpoint: the scenes it knows, how it is trained on them, and how it is judged."""
