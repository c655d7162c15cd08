"""What fits into memory, and how it is made to fit."""
