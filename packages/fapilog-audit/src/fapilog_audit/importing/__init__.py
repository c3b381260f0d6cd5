"""Import of the trails that `fapilog.core.audit` of fapilog 0.3 and an earlier fapilog-audit wrote."""

from __future__ import annotations

from fapilog_audit.importing.importer import import_folder
from fapilog_audit.importing.report import FileFacts, ImportReport, LeftOut

__all__ = ["FileFacts", "ImportReport", "LeftOut", "import_folder"]
