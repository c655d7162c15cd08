"""Kernels of the layers: group norm, memory format, fp8 storage, Winograd convolutions."""
