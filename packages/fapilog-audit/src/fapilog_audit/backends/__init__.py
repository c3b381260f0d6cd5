"""Where sealed events go: the contract of a backend, and the files that are the default."""

from __future__ import annotations

from fapilog_audit.backends.base import ReadableBackend, StorageBackend
from fapilog_audit.backends.file import FileStorageBackend

__all__ = ["FileStorageBackend", "ReadableBackend", "StorageBackend"]
