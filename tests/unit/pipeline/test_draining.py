"""Draining at the end of a process: what is not a matter of how the process ends."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

import pytest
from fapilog import get_logger

from fapilog_tamper import ConfigError, SealedSink, install_exit_drain, verify_path
from fapilog_tamper.keys import HmacKey
from fapilog_tamper.pipeline import draining

K1 = HmacKey("k1", bytes(range(32)))

THREADS = """
import sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from fapilog import Settings, get_logger
from fapilog.plugins.sinks.stdout_json import StdoutJsonSink
from fapilog_tamper import SealedSink
from fapilog_tamper.keys import HmacKey

sink = SealedSink(directory=sys.argv[1], key=HmacKey("k1", bytes(range(32))))
sinks = [sink, StdoutJsonSink()] if sys.argv[3] == "beside" else [sink]
log = get_logger(settings=Settings(core={"max_queue_size": 10_000}), sinks=sinks)

def work(number):
    threading.main_thread().join()
    for n in range(50):
        log.info(f"event {n} of {number}", n=n)

if sys.argv[2] == "thread":
    for number in range(3):
        threading.Thread(target=work, args=(number,)).start()
else:
    pool = ThreadPoolExecutor(1)
    for number in range(3):
        # The pool works off what it was given when the main thread has ended.
        pool.submit(lambda number=number: [log.info(f"event {n} of {number}", n=n) for n in range(50)])
"""


@pytest.mark.parametrize("kind", ["thread", "pool"])
@pytest.mark.parametrize("sinks", ["alone", "beside"])
def test_what_threads_log_that_outlive_the_main_thread_is_sealed(tmp_path, kind, sinks):
    """Also where a sink writes in threads, of which there are none any more."""
    command = [sys.executable, "-c", THREADS, str(tmp_path), kind, sinks]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == (150 if sinks == "beside" else 0)
    report = verify_path(tmp_path, keys=[K1], require_end=True, require_manifests=True)
    assert (report.valid, report.entries) == (True, 150)


def test_a_sink_does_not_undo_the_timeout_that_was_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(draining._state, "seconds", draining._state.seconds)
    install_exit_drain(timeout=60)
    SealedSink(directory=tmp_path, key=K1)
    assert draining._state.seconds == 60


@pytest.mark.parametrize("timeout", [0, -1, True, "5", float("nan")])
def test_a_timeout_is_a_positive_number(timeout):
    with pytest.raises(ConfigError, match="timeout is"):
        install_exit_drain(timeout=timeout)


def test_what_is_left_in_queues_when_the_time_is_over_is_counted(tmp_path):
    """The sink stands still until the test lets it go on."""
    reading, writing = os.pipe()

    class Stands(SealedSink):
        async def write(self, entry):
            os.read(reading, 1)
            await super().write(entry)

    log = get_logger(sinks=[Stands(directory=tmp_path, key=K1)], reuse=False)
    for number in range(5):
        log.info("event", number=number)
    assert draining.drain_loggers(0.05) >= 1
    os.close(writing)
    asyncio.run(log.stop_and_drain())
    os.close(reading)
    assert verify_path(tmp_path, keys=[K1]).entries == 5


ENDLESS = """
import os, signal, sys
from fapilog_tamper import get_sealed_logger, install_exit_drain
install_exit_drain(timeout=float("inf"))
get_sealed_logger(directory=sys.argv[1]).info("event")
os.kill(os.getpid(), signal.SIGTERM)
signal.pause()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="SIGTERM is of POSIX")
def test_a_timeout_may_be_without_end(tmp_path):
    env = {**os.environ, "FAPILOG_TAMPER_KEY": "ab" * 32}
    command = [sys.executable, "-c", ENDLESS, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=env)
    assert (done.returncode, done.stderr) == (-15, "")
    assert len(list(tmp_path.glob("*.manifest.json"))) == 1
