"""The recorders and the memory of conversations that a host program may use, and the policy for what is recorded."""

from .record.policy import ContentPolicy, FilteredRecorder
from .record.recorder import SQLRecorder
from .tools.sql_memory import SQLMemory

__all__ = ["ContentPolicy", "FilteredRecorder", "SQLMemory", "SQLRecorder"]
