"""What can go wrong, one type for each family of modules.

Every message says what was found, where, and what to do about it. The command
line prints the message of a `CalibrationError` as one line and exits with 1; any
other exception is a defect of this package and keeps its traceback.
"""

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = [
    "CalibrationError",
    "DatasetError",
    "DiagnosticsError",
    "EngineError",
    "FileError",
    "FitError",
    "GeographyError",
    "IdentityError",
    "ImputationError",
    "MatrixError",
    "PipelineError",
    "PublishError",
    "RandomError",
    "TakeupError",
    "TargetError",
    "near",
]


class CalibrationError(Exception):
    """Base of all errors that bad input or a broken promise can raise."""


class RandomError(CalibrationError):
    """A key for the random streams is neither text nor a whole number."""


class FileError(CalibrationError):
    """A file is missing, cut short, not of its format, or cannot be written."""


class DatasetError(CalibrationError):
    """A table, an id, a membership or a value of a `Dataset` is not valid."""


class GeographyError(CalibrationError):
    """A geographic code, level or crosswalk is not valid."""


class EngineError(CalibrationError):
    """A tax-benefit engine was asked for what it does not have."""


class ImputationError(CalibrationError):
    """Donor and receiver do not fit each other, or a donor cannot be learned from."""


class TakeupError(CalibrationError):
    """A takeup rate, threshold or pool is missing or contradictory."""


class TargetError(CalibrationError):
    """A target, a constraint or a stratum is not valid."""


class MatrixError(CalibrationError):
    """The calibration matrix cannot be built, or a stored one does not fit."""


class FitError(CalibrationError):
    """A weight fit was given a problem or options that it cannot use."""


class PublishError(CalibrationError):
    """A file cannot be written, or what was written is not what was meant."""


class IdentityError(CalibrationError):
    """What was calibrated is not what was written."""


class DiagnosticsError(CalibrationError):
    """A diagnostic table cannot be made from what it was given."""


class PipelineError(CalibrationError):
    """A run, a step or a run folder is not in a usable state."""


def near(name: str, known: Iterable[str]) -> str:
    """Word a hint at the known names nearest to an unknown one; empty if none is near."""
    matches = get_close_matches(name, list(known), n=3)
    return f"; did you mean {' or '.join(repr(match) for match in matches)}?" if matches else ""
