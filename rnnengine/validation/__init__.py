"""Does a model compute what its framework computes, and if not, why not."""

from rnnengine.validation.accuracy import Accuracy, Deviation, accuracy
from rnnengine.validation.report import Cause, OutputResult, SampleResult, Validation
from rnnengine.validation.validate import same_bits, validate

__all__ = [
    "Accuracy",
    "Cause",
    "Deviation",
    "OutputResult",
    "SampleResult",
    "Validation",
    "accuracy",
    "same_bits",
    "validate",
]
