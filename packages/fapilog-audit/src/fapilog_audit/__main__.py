"""`python -m fapilog_audit`."""

from __future__ import annotations

from fapilog_audit.cli import main

# Worker processes that are spawned import this module again.
if __name__ == "__main__":
    main()
