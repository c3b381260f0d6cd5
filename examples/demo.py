"""Write a sealed log, verify it, change one byte, verify again.

Run it with `make demo`, or with any Python that has fapilog-tamper installed.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from fapilog_tamper import SealedLog

FOLDER = Path("demo-log")


def verify() -> None:
    """Run the command an auditor would run."""
    command = ["verify", str(FOLDER), "--key", "file:demo-log/key.jwk"]
    print(f"\n$ fapilog-tamper {' '.join(command)}", flush=True)
    done = subprocess.run([sys.executable, "-m", "fapilog_tamper", *command], check=False)  # noqa: S603 (our own program)
    print(f"(exit code {done.returncode})", flush=True)


def main() -> None:
    """Play the demo."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    keygen = ["keygen", "--algorithm", "HMAC-SHA256", "--kid", "demo-2026", "-o", "demo-log/key.jwk"]
    subprocess.run([sys.executable, "-m", "fapilog_tamper", *keygen], check=True)  # noqa: S603 (our own program)

    with SealedLog.open(FOLDER, key="file:demo-log/key.jwk", stream="audit") as log:
        for number in range(1, 6):
            log.append({"event_type": "data_access", "user_id": f"u-{number}", "amount": 100 * number})
    segment = next(FOLDER.glob("*.jsonl"))
    print(f"\nEntry 3 as it stands in {segment}:\n{segment.read_text().splitlines()[2]}")
    verify()

    print("\nNow somebody turns 300 into 900 in entry 3: one byte.")
    data = bytearray(segment.read_bytes())
    data[data.index(b"300")] = ord("9")
    segment.write_bytes(data)
    verify()


if __name__ == "__main__":
    main()
