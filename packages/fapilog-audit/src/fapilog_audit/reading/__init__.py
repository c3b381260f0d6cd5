"""The reading side of an audit trail: queries, single events, numbers, and following what is written.

Plain synchronous functions over the folder of a sealed log. They take no lock, write nothing, and may be called while
any number of processes write to the folder. What they return is what the lines say; whether anybody changed the lines
is for the verifier.
"""

from __future__ import annotations

from fapilog_audit.reading.counting import FolderStats, count_events, folder_stats
from fapilog_audit.reading.finding import find_event
from fapilog_audit.reading.follow import Follower
from fapilog_audit.reading.pages import EventPage, iter_events, read_events
from fapilog_audit.reading.query import Query

__all__ = [
    "EventPage",
    "FolderStats",
    "Follower",
    "Query",
    "count_events",
    "find_event",
    "folder_stats",
    "iter_events",
    "read_events",
]
