"""The f8 autoencoder: image encoder, temporal decoder, plain image decoder."""

from .model import Autoencoder
from .plan import DecodePlan

__all__ = ["Autoencoder", "DecodePlan"]
