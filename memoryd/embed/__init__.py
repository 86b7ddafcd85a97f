"""From text to vectors: `open_embedder` gives the configured model, `MicroBatcher` joins its callers.

Read `protocol.py` for what a model promises, `open.py` for which one is taken, `batching.py` for how calls are joined,
and `prepare.py` for how a model comes to this machine. Heavy packages load in the threads that use them.
"""

from __future__ import annotations

from memoryd.embed.batching import MicroBatcher
from memoryd.embed.open import open_embedder
from memoryd.embed.protocol import Embedder, ModelFailed, ModelUnavailable, Vectors

__all__ = [
    "Embedder",
    "MicroBatcher",
    "ModelFailed",
    "ModelUnavailable",
    "Vectors",
    "open_embedder",
]
