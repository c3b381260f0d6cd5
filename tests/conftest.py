"""What all tests need of the process they run in."""

from __future__ import annotations

import signal

# A shell that starts a job in the background has it ignore Ctrl-C, and `nohup` the hang-up: programs that the tests
# start would inherit that, and not end when they are told to.
for _name in ("SIGINT", "SIGHUP", "SIGTERM"):
    _number = getattr(signal, _name, None)
    if _number is not None and signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _name == "SIGINT" else signal.SIG_DFL)
