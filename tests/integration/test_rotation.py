"""Segments of a sealed sink under the load of a real logger: closed by size, by time and by hand, over a restart.

Whatever one file is taken away afterwards, a verification that asks for everything does not find the log intact.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import subprocess
import sys
import threading
import warnings
from typing import TYPE_CHECKING, Any

import pytest
from fapilog import Settings, get_logger
from integration.loopback import until

from fapilog_tamper import Code, Keyring, Outcome, SealedSink, verify_path
from fapilog_tamper.entry import split
from fapilog_tamper.head import parse_head
from fapilog_tamper.keys import HmacKey
from fapilog_tamper.layout import STATE_FOLDER, is_segment_name, manifest_name, plain_name
from fapilog_tamper.manifest import Manifest, parse_manifest

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fapilog_tamper import VerifyReport

KEY = HmacKey("fapilog", bytes(range(32)))
RING = Keyring([KEY])
GENESIS = bytes(32)

FIRST_RUN = """
import json, sys
from fapilog import Settings, get_logger
folder, count, options = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
sealed = {"directory": folder, **options}
core, plugins = {"sinks": ["sealed"]}, {"allow_external": True}
settings = Settings(core=core, plugins=plugins, sink_config={"extra": {"sealed": sealed}})
log = get_logger(settings=settings, reuse=False)
for n in range(count):
    log.info("first", n=n, pad="x" * 200)
"""


@pytest.fixture(autouse=True)
def _key(monkeypatch):
    monkeypatch.setenv("FAPILOG_TAMPER_KEY", bytes(range(32)).hex())


def start_logger(folder: Path, **options: Any) -> tuple[Any, Any]:
    """Return a logger of fapilog with a sealed sink that fapilog made from settings, and that sink."""
    sealed = {"directory": str(folder), "exit_drain": False, **options}
    settings = Settings(
        core={"sinks": ["sealed"]}, plugins={"allow_external": True}, sink_config={"extra": {"sealed": sealed}}
    )
    log = get_logger(settings=settings, reuse=False)
    return log, log._sinks[0]


def drain(log: Any) -> None:
    asyncio.run(log.stop_and_drain())


def run_process(folder: Path, count: int, **options: Any) -> None:
    """Have a process of its own log events and come to a plain exit."""
    command = [sys.executable, "-W", "error", "-c", FIRST_RUN, str(folder), str(count), json.dumps(options)]
    subprocess.run(command, check=True, timeout=60)


def files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def segments_of(folder: Path) -> list[Path]:
    return [path for path in files_of(folder) if path.parent == folder and is_segment_name(path.name)]


def content(path: Path) -> bytes:
    raw = path.read_bytes()
    if path.suffix == ".gz":
        return gzip.decompress(raw)
    return zstd.decompress(raw) if path.suffix == ".zst" else raw


def manifests_of(folder: Path) -> dict[str, list[Manifest]]:
    """Return the manifests of each stream, in the order of the stream."""
    found: dict[str, list[Manifest]] = {}
    for path in folder.glob("*.manifest.json"):
        manifest = parse_manifest(path.read_bytes())
        found.setdefault(manifest.stream, []).append(manifest)
    return {stream: sorted(found[stream], key=lambda one: one.first_seq) for stream in sorted(found)}


def numbers_of(folder: Path) -> list[tuple[str, int]]:
    """Return message and number of each event that is in the log."""
    payloads = (
        json.loads(split(line)[0]) for path in segments_of(folder) for line in content(path).splitlines(keepends=True)
    )
    return sorted((one["log"]["message"], one["log"]["data"]["n"]) for one in payloads if "log" in one)


def verified(folder: Path) -> VerifyReport:
    """Verify all that there is, and ask for all that there can be."""
    return verify_path(folder, keyring=RING, require_manifests=True, require_end=True, deep=True)


def require_intact(folder: Path, **expected: int) -> None:
    """Accept a log that is intact and holds the events 0 to `expected` of each message, once each."""
    report = verified(folder)
    assert report.outcome is Outcome.INTACT, report.findings
    assert numbers_of(folder) == sorted((message, n) for message, count in expected.items() for n in range(count))


def without(path: Path) -> Iterator[None]:
    """Take a file away and put it back."""
    aside = path.with_name("aside")
    path.rename(aside)
    yield
    aside.rename(path)


def expected_without(path: Path) -> tuple[Outcome, Code | None]:
    """Return what a verification has to say when this file is missing."""
    if path.name.endswith(".lock"):
        return Outcome.INTACT, None  # empty, and evidence of nothing
    if path.name.endswith(".chainstate"):
        return Outcome.UNDETERMINED, Code.END_NOT_ATTESTED
    if path.name.endswith(".manifest.json"):
        return Outcome.UNDETERMINED, Code.MANIFEST_MISSING
    return Outcome.TAMPERED, Code.SEGMENT_MISSING


def require_each_file_missed(folder: Path) -> None:
    """Take each file of a log away by turns; accept a log in which each deletion is found."""
    for path in files_of(folder):
        outcome, code = expected_without(path)
        for _ in without(path):
            report, unasked = verified(folder), verify_path(folder, keyring=RING)
        assert report.outcome is outcome, (path.name, report.findings)
        assert code is None or code in {finding.code for finding in report.findings}, path.name
        if code is Code.SEGMENT_MISSING:
            assert unasked.outcome is Outcome.TAMPERED, path.name


def require_manifests(folder: Path) -> None:
    """Accept one manifest for each segment, each stream's chained from its beginning to its end."""
    plain = {plain_name(path.name) for path in segments_of(folder)}
    assert {manifest_name(name) for name in plain} == {path.name for path in folder.glob("*.manifest.json")}
    assert len(plain) == len(segments_of(folder))
    for manifests in manifests_of(folder).values():
        link, seq = GENESIS, 0
        for manifest in manifests:
            assert manifest.continues_from == link
            assert manifest.first_seq == seq + 1
            link, seq = manifest.root_chain_hash, manifest.last_seq


@pytest.mark.parametrize("rotate_chain", [False, True])
@pytest.mark.parametrize(("compress", "ending"), [(False, ".jsonl"), ("gzip", ".gz"), ("zstd", ".zst")])
def test_closed_by_size_over_a_restart_the_deletion_of_any_one_file_is_found(tmp_path, compress, ending, rotate_chain):
    folder, copies = tmp_path / "log", tmp_path / "manifests"
    options = {"max_bytes": 8192, "compress_rotated": compress, "rotate_chain": rotate_chain}
    options["manifest_path"] = str(copies)
    run_process(folder, 40, **options)
    log, _ = start_logger(folder, **options)
    for n in range(40):
        log.info("second", n=n, pad="y" * 200)
    drain(log)
    require_intact(folder, first=40, second=40)
    assert {path.suffix for path in segments_of(folder)} == {ending}
    assert len(segments_of(folder)) > 4
    require_manifests(folder)
    chains = [len(manifests) for manifests in manifests_of(folder).values()]
    assert chains == [1] * len(segments_of(folder)) if rotate_chain else len(chains) == 1
    manifests = {path.name: path.read_bytes() for path in folder.glob("*.manifest.json")}
    assert {path.name: path.read_bytes() for path in files_of(copies)} == manifests
    require_each_file_missed(folder)


@pytest.mark.parametrize("rotate_chain", [False, True])
@pytest.mark.parametrize("compress", [False, "gzip", "zstd"])
def test_closed_by_time_over_a_restart_the_deletion_of_any_one_file_is_found(tmp_path, compress, rotate_chain):
    options = {"interval_seconds": 0.02, "compress_rotated": compress, "rotate_chain": rotate_chain}
    logged = {"first": 0, "second": 0}
    for message in list(logged):
        log, _ = start_logger(tmp_path, **options)
        before = len(list(tmp_path.glob("*.manifest.json")))

        def more(log=log, message=message, before=before):
            log.info(message, n=logged[message])
            logged[message] += 1
            return len(list(tmp_path.glob("*.manifest.json"))) >= before + 2

        until(more)
        drain(log)
    require_intact(tmp_path, **logged)
    require_manifests(tmp_path)
    assert (len(manifests_of(tmp_path)) > 3) == rotate_chain
    require_each_file_missed(tmp_path)


def test_a_restarted_chain_is_bound_to_those_before_by_its_manifest(tmp_path):
    log, _ = start_logger(tmp_path, max_bytes=8192, rotate_chain=True)
    for n in range(40):
        log.info("first", n=n, pad="x" * 200)
    drain(log)
    streams = manifests_of(tmp_path)
    names = ["fapilog", *(f"fapilog.r{number}" for number in range(2, len(streams) + 1))]
    assert set(streams) == set(names)
    assert len(names) > 2
    for number, name in enumerate(names):
        [manifest] = streams[name]
        heads = [parse_head((tmp_path / STATE_FOLDER / f"{one}.chainstate").read_bytes()) for one in names[:number]]
        ends = {(head.stream, head.seq, head.chain_hash) for head in heads}
        assert set(manifest.others) == ends


def test_a_segment_and_its_manifest_together_are_missed(tmp_path):
    log, _ = start_logger(tmp_path, max_bytes=8192)
    for n in range(60):
        log.info("first", n=n, pad="x" * 200)
    drain(log)
    assert len(segments_of(tmp_path)) > 3
    for path in segments_of(tmp_path):
        for _ in without(path):
            manifest = tmp_path / manifest_name(path.name)
            kept = manifest.read_bytes()
            manifest.unlink()
            report = verify_path(tmp_path, keyring=RING)
            manifest.write_bytes(kept)
        assert report.outcome is Outcome.TAMPERED
        assert Code.SEGMENT_MISSING in {finding.code for finding in report.findings}


@pytest.mark.parametrize(
    ("serialized", "concurrency", "rotate_chain"), [(False, 1, False), (True, 16, False), (False, 16, True)]
)
def test_rotation_under_load_loses_and_repeats_nothing(tmp_path, serialized, concurrency, rotate_chain):
    """Four threads log, four workers write, and somebody rotates by hand the while."""
    options = {"max_bytes": 16_384, "interval_seconds": 0.05, "rotate_chain": rotate_chain}
    sink = SealedSink(directory=tmp_path, exit_drain=False, **options)
    core = {"worker_count": 4, "sink_concurrency": concurrency, "serialize_in_flush": serialized}
    log = get_logger(sinks=[sink], settings=Settings(core={**core, "max_queue_size": 10_000}), reuse=False)

    def work(name: str) -> None:
        for n in range(250):
            log.info(name, n=n, pad="x" * 100)

    threads = [threading.Thread(target=work, args=(name,)) for name in ("t0", "t1", "t2", "t3")]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        asyncio.run(sink.rotate())
        threads[0].join(0.005)
    for thread in threads:
        thread.join()
    drain(log)
    require_intact(tmp_path, t0=250, t1=250, t2=250, t3=250)
    require_manifests(tmp_path)
    assert len(segments_of(tmp_path)) > 10


@pytest.mark.parametrize("rotate_chain", [False, True])
def test_rotate_by_hand_closes_the_segment_and_the_next_event_begins_another(tmp_path, rotate_chain):
    log, sink = start_logger(tmp_path, rotate_chain=rotate_chain)
    for n in range(3):
        log.info("first", n=n)
        until(lambda n=n: sum(content(path).count(b"\n") for path in segments_of(tmp_path)) == n + 1)
        asyncio.run(sink.rotate())
        assert len(list(tmp_path.glob("*.manifest.json"))) == n + 1
        asyncio.run(sink.rotate())  # there is nothing to close
    assert len(segments_of(tmp_path)) == 3
    drain(log)
    assert len(segments_of(tmp_path)) == 3
    require_intact(tmp_path, first=3)
    require_manifests(tmp_path)
    assert len(manifests_of(tmp_path)) == (3 if rotate_chain else 1)


def test_rotating_a_sink_that_was_never_used_makes_nothing(tmp_path):
    sink = SealedSink(directory=tmp_path / "log", exit_drain=False)
    asyncio.run(sink.rotate())
    assert not (tmp_path / "log").exists()


# Closed segments are read back.


def flip(path: Path) -> None:
    """Change one bit of a value, through a descriptor of our own."""
    at = path.read_bytes().index(b'"n":') + len(b'"n":')
    handle = os.open(path, os.O_RDWR)
    try:
        [byte] = os.pread(handle, 1, at)
        os.pwrite(handle, bytes([byte ^ 1]), at)
    finally:
        os.close(handle)


@pytest.mark.skipif(os.name == "nt", reason="pread and pwrite are of POSIX")
@pytest.mark.parametrize("alert", [True, False])
@pytest.mark.parametrize("compress", [False, "zstd"])
def test_a_segment_that_was_changed_before_it_was_closed_is_told(tmp_path, compress, alert):
    log, sink = start_logger(tmp_path, verify_on_close=True, alert_on_failure=alert, compress_rotated=compress)
    log.info("first", n=4)
    until(lambda: segments_of(tmp_path) and content(segments_of(tmp_path)[0]).endswith(b"\n"))
    assert asyncio.run(sink.health_check()) is True
    flip(segments_of(tmp_path)[0])
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        asyncio.run(sink.rotate())
        until(lambda: sink.health() is not None)
        until(lambda: told or not alert)
        assert "jsonl was closed and is tampered: " in sink.health()
        assert asyncio.run(sink.health_check()) is False
        log.info("first", n=5)
        drain(log)
    assert [one.category for one in told] == [RuntimeWarning] * alert
    assert all("jsonl was closed and is tampered: " in str(one.message) for one in told)
    assert verified(tmp_path).outcome is Outcome.TAMPERED


@pytest.mark.skipif(os.name == "nt", reason="pread and pwrite are of POSIX")
def test_without_verify_on_close_nobody_reads_a_segment_back(tmp_path):
    log, sink = start_logger(tmp_path)
    log.info("first", n=4)
    until(lambda: segments_of(tmp_path) and content(segments_of(tmp_path)[0]).endswith(b"\n"))
    flip(segments_of(tmp_path)[0])
    asyncio.run(sink.rotate())
    assert sink.health() is None
    drain(log)
    assert verified(tmp_path).outcome is Outcome.TAMPERED


@pytest.mark.parametrize("rotate_chain", [False, True])
@pytest.mark.parametrize("compress", [False, "gzip"])
def test_what_was_not_changed_is_read_back_in_silence(tmp_path, compress, rotate_chain):
    """Also at a plain exit, where no thread can be had any more."""
    options = {"verify_on_close": True, "compress_rotated": compress, "rotate_chain": rotate_chain, "max_bytes": 8192}
    run_process(tmp_path, 40, **options)
    log, sink = start_logger(tmp_path, **options)
    for n in range(40):
        log.info("second", n=n)
    drain(log)
    assert sink.health() is None
    asyncio.run(sink.stop())
    require_intact(tmp_path, first=40, second=40)
