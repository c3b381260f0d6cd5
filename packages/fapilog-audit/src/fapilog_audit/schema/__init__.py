"""The JSON schema of the stored line (draft 2020-12), which ships beside this module."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

__all__ = ["load_schema"]


def load_schema() -> dict[str, Any]:
    """Return the JSON schema of an audit event as it is stored; a new dict with each call.

    It speaks of events. The log's own entries, which have a member `sealed_log`, stand between them in the files and
    are described in docs/spec/sealed-log.md.
    """
    text = files(__name__).joinpath("audit_event.schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema
