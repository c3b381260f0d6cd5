"""Calls from within calls, and segments that somebody else touches: told by an error, at once, and never by a hang."""

from __future__ import annotations

import errno
import gc
import gzip
import logging
import os
import signal
import subprocess
import sys
import warnings
from typing import TYPE_CHECKING, Any

import pytest
from unit.sealer.scene import KEYRING, events_of, faulty, memory, open_log, posix, segments, until, verified

from fapilog_tamper import Outcome, StoreError, verify_path
from fapilog_tamper.layout import STATE_FOLDER, head_name

if TYPE_CHECKING:
    from pathlib import Path

SIGNALLED = """
import signal, sys, threading, os
from fapilog_tamper import SealedLog, StoreError
from fapilog_tamper.keys import HmacKey
log = SealedLog.open(sys.argv[1], key=HmacKey("k1", bytes(range(32))), timeout=60)
told, heard, kept = [], 0, []
def hear(number, frame):
    global heard
    heard += 1
    try:
        kept.append(log.append({"from": "handler"}).seq)
    except StoreError as error:
        told.append(str(error))
    back.append(1)
signal.signal(signal.SIGUSR1, hear)
end, back = threading.Event(), [1]
def send():
    # One at a time: a handler that is interrupted by itself again and again never returns.
    while not end.is_set():
        if back:
            back.clear()
            os.kill(os.getpid(), signal.SIGUSR1)
        end.wait(0.0005)
sender = threading.Thread(target=send)
sender.start()
for number in range(20000):
    kept.append(log.append({"n": number}).seq)
end.set()
sender.join()
log.close()
assert all("signal handler" in text for text in told), told[:3]
print(heard > 0, len(kept) == len(set(kept)))
"""


@posix
def test_an_append_in_a_signal_handler_is_kept_or_told_and_never_hangs(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SIGNALLED, tmp_path], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout.strip(), done.stderr) == ("True True", "")
    verified(tmp_path)


@posix
def test_closing_in_a_signal_handler_that_interrupts_an_append_is_an_error() -> None:
    folder = faulty()
    log = open_log(folder)
    log.append({})
    told: list[StoreError] = []

    def hear(*_: Any) -> None:
        try:
            log.close()
        except StoreError as error:
            told.append(error)

    before = signal.signal(signal.SIGUSR1, hear)
    write = log._opened.engine._write  # type: ignore[union-attr]

    def interrupted(*args: Any) -> int:
        signal.raise_signal(signal.SIGUSR1)
        return write(*args)

    log._opened.engine._write = interrupted  # type: ignore[union-attr]
    try:
        log.append({})
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert [error.message.split()[0] for error in told] == ["close"]
    log.close()
    verified(folder)


def test_an_append_in_a_destructor_that_the_log_itself_sets_off_is_an_error() -> None:
    folder = memory()
    told: list[BaseException] = []

    class Late:
        def __del__(self) -> None:
            try:
                log.append({})
            except StoreError as error:
                told.append(error)

    with open_log(folder) as log:
        engine = log._opened.engine  # type: ignore[union-attr]
        with engine.mutex:
            Late()
            gc.collect()
        log.append({"n": 1})
    assert len(told) == 1
    verified(folder)


def test_a_log_that_hears_its_own_warnings_goes_on_when_the_disk_does() -> None:
    folder = faulty()

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            log.append({"warning": record.getMessage()})

    handler = Handler()
    logger = logging.getLogger("py.warnings")
    logger.addHandler(handler)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        try:
            with open_log(folder, inline=False) as log:
                log.append({"n": 0})
                folder.faults.fail("write", error=errno.ENOSPC, times=3)
                log.append({"n": 1})
                log.append({"n": 2})
                until(log.health)
        finally:
            logging.captureWarnings(capture=False)
            logger.removeHandler(handler)
    assert {"n": 2} in events_of(folder)
    verified(folder)


def test_a_close_without_patience_still_stores_what_was_accepted() -> None:
    folder = memory()
    log = open_log(folder, durability="accepted")
    for number in range(5):
        log.append({"n": number})
    log.close(timeout=0)
    assert len(events_of(folder)) == 5
    verified(folder)


@pytest.mark.parametrize("how", ["removed", "cut", "cut and written behind"])
def test_a_segment_that_somebody_else_touches_is_noticed_before_a_promise_is_kept(how: str, tmp_path: Path) -> None:
    log = open_log(tmp_path)
    log.append({"n": 1})
    path = tmp_path / segments(tmp_path)[0]
    path.unlink() if how == "removed" else os.truncate(path, 0)
    with pytest.warns(RuntimeWarning, match="removed or cut by somebody else"):  # noqa: PT031
        if how == "cut and written behind":
            log.append({"n": 2})
        with pytest.raises(StoreError, match="removed or cut by somebody else"):
            log.append({"n": 3}, durability="synced")
        with pytest.raises(StoreError, match="takes no more"):
            log.append({"n": 4})
        with pytest.raises(StoreError):
            log.close()
    assert not list(tmp_path.glob("*.manifest.json"))


def test_time_stamps_of_any_length_make_a_manifest_that_can_be_read() -> None:
    folder = memory()
    with open_log(folder, max_payload=1 << 20) as log:
        log.append(b'{"timestamp":"' + b"x" * 1_000_000 + b'"}')
        log.append({"timestamp": "y" * 1_100_000})
    with open_log(folder) as log:
        log.append({})
    verified(folder)


def test_a_segment_that_gets_its_compressed_name_while_the_folder_is_read_is_no_hole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One reading of a folder may miss both names: the new one comes behind it, the old one is gone before it."""
    for _ in range(3):
        with open_log(tmp_path) as log:
            log.append({})
    moving = tmp_path / segments(tmp_path)[1]
    scandir, readings = os.scandir, 0

    class Reading:
        def __init__(self, path: Any) -> None:
            nonlocal readings
            readings += str(path) == str(tmp_path)
            with scandir(path) as entries:
                self._entries = list(entries)
            if readings == 1:
                self._entries = [entry for entry in self._entries if entry.name != moving.name]
                moving.with_name(f"{moving.name}.gz").write_bytes(gzip.compress(moving.read_bytes()))
                moving.unlink()

        def __enter__(self) -> Any:
            return iter(self._entries)

        def __exit__(self, *_: object) -> None:
            return

    monkeypatch.setattr(os, "scandir", Reading)
    report = verify_path(tmp_path, keyring=KEYRING)
    assert readings > 1
    assert (report.outcome, report.entries) == (Outcome.INTACT, 3)


def test_a_neighbour_that_died_between_manifest_and_head_gets_its_head(tmp_path: Path) -> None:
    with open_log(tmp_path), open_log(tmp_path) as second:
        second.append({})
        second.rotate()
        head = tmp_path / STATE_FOLDER / head_name("log.w2")
        lagging = head.read_bytes()
        second.append({})
    head.write_bytes(lagging)
    with open_log(tmp_path) as first:
        first.append({})
    assert head.read_bytes() != lagging
    verified(tmp_path)
