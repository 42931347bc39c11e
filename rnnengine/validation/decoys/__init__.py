"""Known mistakes: each a change of the graph that would make the reference's outputs its own."""

from rnnengine.validation.decoys.record import Decoy, Variant
from rnnengine.validation.decoys.search import DECOYS, Question, explain

__all__ = ["DECOYS", "Decoy", "Question", "Variant", "explain"]
