"""The f8 autoencoder: image encoder, temporal decoder, plain image decoder."""

from .autoencoder import Autoencoder

__all__ = ["Autoencoder"]
