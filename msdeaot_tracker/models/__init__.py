"""The network: an encoder, stages of gated propagation, a decoder; no state between calls."""

from .encoder import ENCODERS, build_encoder
from .model import MSDeAOT

__all__ = ["ENCODERS", "MSDeAOT", "build_encoder"]
