"""The command line `fapilog-audit`; `app` has its commands.

It stands on that of fapilog-tamper: the same exit codes, options and helpers, one module a command. Reading commands
take no lock and write nothing where the trail lies. What is printed of an event is made printable first: a log cannot
speak to the reader's terminal. What a command needs is imported when it runs, and fapilog only by `policy check`.
"""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line and exit."""
    try:
        from fapilog_audit.cli.app import app

        app(prog_name="fapilog-audit")
    except KeyboardInterrupt:
        # Before and behind the commands: while modules are imported, while the last bytes are written.
        sys.exit(130)
    except Exception:  # noqa: BLE001 (left to itself, a defect of ours exits with 1, which means that a log was changed)
        import traceback

        traceback.print_exc()
        sys.exit(3)
