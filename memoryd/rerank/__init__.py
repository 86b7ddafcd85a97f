"""Reading question and memory together: a cross-encoder's opinion of the best candidates of a recall, where one asks for it.

A vector is made without knowing the question; a cross-encoder reads both at once, which is better and too slow for more than
a few dozen candidates. Nothing here is needed: without a reranker, or when it fails, the order is that of the other signals.
"""

from memoryd.rerank.open import open_reranker
from memoryd.rerank.protocol import Failed, Reranker

__all__ = ["Failed", "Reranker", "open_reranker"]
