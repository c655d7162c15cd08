"""The f8 autoencoder: image encoder, temporal decoder, plain image decoder."""

from .model import Autoencoder

__all__ = ["Autoencoder"]
