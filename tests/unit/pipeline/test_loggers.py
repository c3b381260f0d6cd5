"""`get_sealed_logger`: one logger a name, a new one where that is of no use any more."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

import pytest

from fapilog_tamper import ConfigError, get_sealed_logger, verify_path
from fapilog_tamper.keys import HmacKey

K1 = HmacKey("k1", bytes(range(32)))

FORKED = """
import os, sys
from fapilog_tamper import get_sealed_logger
from fapilog_tamper.keys import HmacKey

def log(who):
    logger = get_sealed_logger("shop", directory=sys.argv[1], key=HmacKey("k1", bytes(range(32))))
    for number in range(5):
        logger.info(who, number=number)

log("parent")
child = os.fork()
if not child:
    log("child")
    sys.exit()
os.waitpid(child, 0)
"""

MAKING = """
import os, sys
from fapilog_tamper import get_sealed_logger
from fapilog_tamper.pipeline import loggers

loggers._MAKING.acquire()
child = os.fork()
if not child:
    get_sealed_logger(directory=sys.argv[1])
    os._exit(0)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.fixture
def make(tmp_path):
    made = []

    def make(name=None, **options):
        logger = get_sealed_logger(name, **{"directory": tmp_path, "key": K1, **options})
        made.append(logger)
        return logger

    yield make
    for logger in made:
        asyncio.run(logger.stop_and_drain())


def run(code, *arguments):
    # Python 3.12 and later warn of any fork of a process with threads.
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)


def test_the_same_name_is_the_same_logger(make):
    assert make("shop") is make("shop")
    assert make("shop") is not make("till")


def test_other_options_under_the_same_name_are_refused(make, tmp_path):
    make("shop")
    with pytest.raises(ConfigError, match="sealed logger shop was made with other options"):
        make("shop", directory=tmp_path / "other")


def test_a_logger_that_was_drained_is_not_given_out_again(make, tmp_path):
    first = make("shop")
    first.info("one")
    asyncio.run(first.stop_and_drain())
    second = make("shop")
    assert second is not first
    second.info("two")
    asyncio.run(second.stop_and_drain())
    assert verify_path(tmp_path, keys=[K1], require_end=True).entries == 2


def test_a_wrong_option_raises_where_the_logger_is_made(make):
    with pytest.warns(RuntimeWarning, match="no option"), pytest.raises(ConfigError, match="Did you mean directory"):
        make(directroy="x")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks are of POSIX")
def test_a_child_gets_a_logger_of_its_own(tmp_path):
    done = run(FORKED, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    report = verify_path(tmp_path, keys=[K1], require_end=True, require_manifests=True)
    assert (report.valid, report.entries) == (True, 10)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks are of POSIX")
def test_a_child_does_not_wait_for_a_thread_of_its_parent(tmp_path):
    assert run(MAKING, tmp_path).returncode == 0
