"""`python -m fapilog_tamper`."""

from __future__ import annotations

from fapilog_tamper.cli import main

# Worker processes that are spawned import this module again.
if __name__ == "__main__":
    main()
