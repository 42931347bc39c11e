"""Does a model compute what its framework computes, and if not, why not."""

from rnnengine.validation.report import Cause, OutputResult, SampleResult, Validation
from rnnengine.validation.validate import same_bits, validate

__all__ = ["Cause", "OutputResult", "SampleResult", "Validation", "same_bits", "validate"]
