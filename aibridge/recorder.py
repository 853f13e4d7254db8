"""The recorders that a host program may use, and the policy that says what they keep."""

from .record.policy import ContentPolicy, FilteredRecorder
from .record.recorder import SQLRecorder

__all__ = ["ContentPolicy", "FilteredRecorder", "SQLRecorder"]
