"""The f8 autoencoder: image encoder, temporal decoder, plain image decoder."""

from ...memory.decode.plan import DecodePlan
from .autoencoder import Autoencoder

__all__ = ["Autoencoder", "DecodePlan"]
