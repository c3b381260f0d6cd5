"""How the samples beside this file were written: by fapilog 0.3.5 itself, `unchecked` by 0.3.3, each in a venv.

    python -m venv v && v/bin/pip install fapilog==0.3.5
    v/bin/python write_old_trail.py normal FOLDER

`two` was run twice at the same time. No test runs this.
"""

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path

from fapilog.core.audit import AuditEventType, AuditTrail, ComplianceLevel, CompliancePolicy

socket.gethostname = lambda: "host-1"


async def log_some(trail, user, count):
    for number in range(count):
        if number % 3 == 0:
            await trail.log_data_access(f"record-{number}", "read", user_id=user, note="naïve – “x” 漢 😀")  # noqa: RUF001
        elif number % 3 == 1:
            await trail.log_event(AuditEventType.CONFIG_CHANGED, "limit raised", old=1, new=2.5, big=2**70, low=1e-7)
        else:
            await trail.log_security_event(AuditEventType.AUTHENTICATION_FAILED, "no such user", user_id=user)


async def run(folder, user, count):
    trail = AuditTrail(CompliancePolicy(level=ComplianceLevel.SOC2), folder)
    await trail.start()
    await log_some(trail, user, count)
    return trail


async def main(mode, folder):
    trail = await run(folder, f"u-{os.getpid() % 2}", 4)
    if mode == "restart":
        await trail.stop()
        trail = await run(folder, "u-2", 3)
    elif mode == "two":
        await asyncio.sleep(1)
        await log_some(trail, "u-3", 2)
    elif mode == "skipped":
        await trail.log_event(AuditEventType.DATA_ACCESS, "cannot be written", what=object())
        await log_some(trail, "u-4", 2)
    elif mode == "killed":
        await trail.drain()
        await log_some(trail, "u-5", 2)
        os.kill(os.getpid(), signal.SIGKILL)
    elif mode == "unchecked":
        await asyncio.sleep(1)
    await trail.stop()


asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
