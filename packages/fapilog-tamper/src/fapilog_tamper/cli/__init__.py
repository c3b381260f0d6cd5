"""The command line `fapilog-tamper`; `app` has its commands.

Data goes to stdout, everything else to stderr. Exit codes: 0 intact or done, 1 tampering found, 2 usage, 3 could not
check everything, 130 Ctrl-C. One module a command; `output` has what they share. What is printed of a log, its names
included, is made printable first: a log cannot speak to the reader's terminal.
"""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line and exit."""
    try:
        from fapilog_tamper.cli.app import app

        app(prog_name="fapilog-tamper")
    except KeyboardInterrupt:
        # Before and behind the commands: while modules are imported, while the last bytes are written.
        sys.exit(130)
    except Exception:  # noqa: BLE001 (left to itself, a defect of ours exits with 1, which means that a log was changed)
        import traceback

        traceback.print_exc()
        sys.exit(3)
