"""A sealed log against a model: two writers, every promise, rotation, new keys, a disk that fails, and sudden ends.

The model knows what each append promised, and nothing of how the log keeps it. Whatever happened, on the disk

* each event stands at most once, and each receipt that promised enough with its seq and its chain hash;
* an event that was refused does not stand;
* the seqs of each stream run from 1 without a gap, and no head or manifest speaks of more than is there;
* the verifier finds no change, and nothing that it cannot check but ends that nobody has attested yet;
* when all is closed and the disk works, everything is attested.
"""

from __future__ import annotations

import errno
import gzip
import json
import random
import sys
import tempfile
import warnings
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from fapilog_tamper import FormatError, Keyring, Outcome, Rotation, SealedLog, StoreError, verify_path
from fapilog_tamper.entry import split
from fapilog_tamper.head import parse_head
from fapilog_tamper.keys import Ed25519SigningKey, HmacKey, SigningKey
from fapilog_tamper.layout import is_manifest_name, is_segment_name, parse_head_name, plain_name
from fapilog_tamper.manifest import parse_manifest
from fapilog_tamper.testing import FakeClock, Faults, FaultyStore, MemoryDisk, MemoryStore, assert_intact
from fapilog_tamper.verify.report import Code

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fapilog_tamper import Receipt

HMACS = tuple(HmacKey(f"k{number}", bytes(range(number, number + 32))) for number in range(8))
SIGNING = tuple(Ed25519SigningKey(f"ed{number}", bytes(range(number, number + 32))) for number in range(8))
RING = Keyring([*HMACS, *(key.verifying_key() for key in SIGNING)])
ALLOWED = {Code.UNAUTHENTICATED_TAIL, Code.TORN_TAIL}
"""What may be undetermined in a log that is still open, or was left without being closed."""

PROMISES = ("accepted", "written", "synced")
DEADLINE = 30.0
SHORT = 0.05
"""Seconds that a call is given while the disk fails."""


class Place(NamedTuple):
    stream: str
    seq: int


@dataclass
class Model:
    """What callers know.

    Attributes:
        given: receipts by promise that holds now: 0 accepted, 1 written, 2 synced.
        unsure: events that may stand or not: their append raised, or they were lost with a process or a machine.
        refused: events that must not stand.
    """

    given: dict[Place, tuple[bytes, int, int]] = field(default_factory=dict)
    unsure: set[int] = field(default_factory=set)
    refused: set[int] = field(default_factory=set)

    def keep(self, receipt: Receipt, event: int, promise: int) -> None:
        place = Place(receipt.stream, receipt.seq)
        assert place not in self.given, f"{place} was given twice"
        self.given[place] = receipt.chain, event, promise

    def raise_to(self, stream: str, promise: int) -> None:
        """All that a stream has promised so far holds at least that much."""
        for place, (chain, event, held) in self.given.items():
            if place.stream == stream and held < promise:
                self.given[place] = chain, event, promise

    def lose(self, least: int, stream: str | None = None) -> None:
        """What promised less than that may be gone."""
        for place, (_, event, held) in list(self.given.items()):
            if held < least and stream in (None, place.stream):
                del self.given[place]
                self.unsure.add(event)


@dataclass
class Writer:
    """One process."""

    log: SealedLog
    faults: Faults
    stream: str
    failing: bool = False


class Line(NamedTuple):
    chain: bytes
    event: int | None


NOTHING = Line(b"", None)


def unpacked(name: str, content: bytes) -> bytes:
    if name.endswith(".gz"):
        return gzip.decompress(content)
    return zstd.decompress(content) if name.endswith(".zst") else content


def lines_of(image: Mapping[str, bytes]) -> dict[Place, Line]:
    """Return all entries; one that stands in two files, after a failed sync, must be the same in both."""
    found: dict[Place, Line] = {}
    names = {plain_name(name): name for name in sorted(image, reverse=True) if "/" not in name}
    for name in names.values():
        if not is_segment_name(name):
            continue
        for raw in unpacked(name, image[name]).splitlines(keepends=True):
            try:
                payload, block = split(raw)
            except FormatError:
                # Torn: the verifier tells whether that may be.
                continue
            line = Line(block.chain_hash, json.loads(payload).get("n"))
            assert found.setdefault(Place(block.stream, block.seq), line) == line
    return found


class SealedLogMachine(RuleBasedStateMachine):
    """The rules; each process is a `Writer`."""

    @initialize(signs=st.booleans(), compress=st.sampled_from(["none", "gzip", "zstd"]), inline=st.booleans())
    def begin(self, *, signs: bool, compress: str, inline: bool) -> None:
        self.disk, self.model = MemoryDisk(), Model()
        self.keys: tuple[SigningKey, ...] = SIGNING if signs else HMACS
        self.key_of: dict[str, int] = {}
        self.compress, self.inline = compress, inline
        self.clock = FakeClock()
        self.writers: list[Writer] = []
        self.left: list[SealedLog] = []
        self.events = 0
        self.warned = warnings.catch_warnings()
        self.warned.__enter__()
        warnings.filterwarnings("ignore", "sealed log ", RuntimeWarning)
        self.start()

    # Processes begin and end.

    @precondition(lambda self: len(self.writers) < 2)
    @rule()
    def start(self) -> None:
        """Open the log; behind another process it gets a slot of its own."""
        held = {writer.stream for writer in self.writers}
        stream = next(name for name in ("log", "log.w2") if name not in held)
        faults = Faults()
        log = SealedLog.open(
            FaultyStore(MemoryStore(self.disk), faults),
            key=self.keys[max(self.key_of.values(), default=0)],
            keyring=RING,
            rotation=Rotation(max_bytes=4096),
            compress=self.compress,
            inline=self.inline,
            clock=self.clock,
        )
        assert log.stream == stream
        self.key_of[stream] = max(self.key_of.values(), default=0)
        self.writers.append(Writer(log, faults, stream))
        # What was found is adopted, and will not go away.
        self.check()

    def writer(self, number: int) -> Writer:
        return self.writers[number % len(self.writers)]

    @precondition(lambda self: self.writers)
    @rule(number=st.integers(0, 1))
    def close(self, number: int) -> None:
        writer = self.writer(number)
        self.writers.remove(writer)
        try:
            writer.log.close(timeout=SHORT if writer.failing else None)
        except StoreError:
            assert writer.failing
            self.model.lose(1, writer.stream)
        else:
            self.model.raise_to(writer.stream, 2)
            assert self.disk_has_end_of(writer.stream)

    @precondition(lambda self: self.writers)
    @rule(number=st.integers(0, 1))
    def kill(self, number: int) -> None:
        """One process is killed; the other goes on."""
        writer = self.writer(number)
        self.writers.remove(writer)
        # From here on nothing of it reaches the disk.
        writer.faults.clear()
        writer.faults.fail("*", times=None)
        opened = writer.log._opened
        assert opened is not None
        assert opened.worker.stop(DEADLINE)
        opened.packer.wait(DEADLINE)
        with suppress(StoreError):
            writer.log.close(timeout=0.0)
        self.model.lose(1, writer.stream)

    @rule(power=st.booleans(), seed=st.integers(0, 1 << 32))
    def end_of_all(self, *, power: bool, seed: int) -> None:
        """All processes are killed, or the machine loses its power."""
        found = self.disk.power_cut(random.Random(seed)) if power else self.disk.kill()
        # They do not know yet; their disk is another one now.
        self.left += [writer.log for writer in self.writers]
        for writer in self.writers:
            writer.faults.clear()
        self.writers.clear()
        self.disk = found
        self.model.lose(2 if power else 1)
        self.check(power=power)

    # What callers do.

    @precondition(lambda self: self.writers)
    @rule(number=st.integers(0, 1), promise=st.integers(0, 2), pad=st.sampled_from([0, 0, 300, 2000, 5000]))
    def append(self, number: int, promise: int, pad: int) -> None:
        writer = self.writer(number)
        self.events += 1
        event = self.events
        try:
            receipt = writer.log.append(
                {"n": event, "pad": "x" * pad},
                durability=PROMISES[promise],
                timeout=SHORT if writer.failing else None,
            )
        except StoreError as error:
            self.must_fail(writer, error)
            (self.model.unsure if error.seqs else self.model.refused).add(event)
        else:
            self.model.keep(receipt, event, promise)
            assert receipt.stream == writer.stream

    @precondition(lambda self: self.writers)
    @rule(number=st.integers(0, 1), rotate=st.booleans())
    def flush(self, number: int, *, rotate: bool) -> None:
        writer = self.writer(number)
        call = writer.log.rotate if rotate else writer.log.flush
        try:
            call(timeout=SHORT if writer.failing else None)
        except StoreError as error:
            self.must_fail(writer, error)
        else:
            self.model.raise_to(writer.stream, 2)

    @precondition(lambda self: any(self.key_of[writer.stream] < len(self.keys) - 1 for writer in self.writers))
    @rule()
    def rotate_key(self) -> None:
        writer = min(self.writers, key=lambda one: self.key_of[one.stream])
        number = self.key_of[writer.stream] = self.key_of[writer.stream] + 1
        try:
            writer.log.rotate_key(self.keys[number], timeout=SHORT if writer.failing else None)
        except StoreError as error:
            self.must_fail(writer, error)
        else:
            self.model.raise_to(writer.stream, 2)

    @rule(seconds=st.sampled_from([1.0, 86_400.0, -3600.0]))
    def time_goes_on(self, seconds: float) -> None:
        self.clock.advance(seconds)

    # What the disk does.

    @precondition(lambda self: self.writers)
    @rule(
        number=st.integers(0, 1),
        method=st.sampled_from(["write", "sync", "replace", "create", "rename", "truncate", "sync_names", "*"]),
        times=st.integers(1, 3),
        done=st.booleans(),
        after=st.integers(0, 2),
    )
    def fail(self, number: int, method: str, times: int, *, done: bool, after: int) -> None:
        writer = self.writer(number)
        writer.failing = True
        writer.faults.fail(method, error=errno.EIO, times=times, after=after, done=done)

    @precondition(lambda self: self.writers)
    @rule(number=st.integers(0, 1), taken=st.integers(1, 500))
    def write_in_part(self, number: int, taken: int) -> None:
        """A short write is no failure."""
        self.writer(number).faults.short(taken)

    @precondition(lambda self: self.writers)
    @rule(number=st.integers(0, 1))
    def lose_what_was_to_be_synced(self, number: int) -> None:
        writer = self.writer(number)
        writer.failing = True
        writer.faults.fail("sync", lost=True)

    @precondition(lambda self: any(writer.failing for writer in self.writers))
    @rule()
    def mend(self) -> None:
        """The disk works again, and the log with it, with nobody's help."""
        for writer in self.writers:
            writer.faults.clear()
            if writer.failing:
                writer.log.flush()
                writer.failing = False
                self.model.raise_to(writer.stream, 2)

    # What must hold.

    @staticmethod
    def must_fail(writer: Writer, error: StoreError) -> None:
        if not writer.failing:
            raise error

    def disk_has_end_of(self, stream: str) -> bool:
        image = self.disk.image()
        last = max((place.seq for place in lines_of(image) if place.stream == stream), default=0)
        heads = [parse_head(content) for name, content in image.items() if parse_head_name(Path(name).name) == stream]
        return [head.seq for head in heads] == ([last] if last else [])

    def check(self, *, power: bool = False) -> None:
        # All at one moment: threads may still write.
        disk = self.disk.kill()
        image = disk.image()
        lines = lines_of(image)
        for place, (chain, event, promise) in self.model.given.items():
            if promise >= (2 if power else 1):
                assert lines.get(place) == Line(chain, event), f"{place} of promise {PROMISES[promise]}"
        events = [line.event for line in lines.values() if line.event is not None]
        assert len(events) == len(set(events)), "an event stands twice"
        assert not self.model.refused & set(events)
        known = {event for _, event, _ in self.model.given.values()} | self.model.unsure
        assert set(events) <= known
        for stream in {place.stream for place in lines}:
            seqs = sorted(place.seq for place in lines if place.stream == stream)
            assert seqs == list(range(1, len(seqs) + 1)), stream
        self._check_documents(image, lines)
        with tempfile.TemporaryDirectory() as folder:
            disk.dump(folder)
            report = verify_path(folder, keyring=RING)
        assert report.outcome is not Outcome.TAMPERED, report.findings
        # Even the first line may be torn.
        allowed = ALLOWED if lines else {Code.EMPTY, Code.TORN_TAIL}
        assert {finding.code for finding in report.findings} <= allowed, report.findings

    @staticmethod
    def _check_documents(image: Mapping[str, bytes], lines: dict[Place, Line]) -> None:
        for path, content in image.items():
            name = Path(path).name
            if parse_head_name(name) is not None:
                head = parse_head(content)
                said = [(head.stream, head.seq, head.chain_hash), *head.others]
            elif is_manifest_name(name):
                manifest = parse_manifest(content)
                said = [(manifest.stream, manifest.last_seq, manifest.root_chain_hash), *manifest.others]
            else:
                continue
            for stream, seq, chain in said:
                assert lines.get(Place(stream, seq), NOTHING).chain == chain, (
                    f"{name} speaks of entry {seq} of {stream}"
                )

    def teardown(self) -> None:
        if not hasattr(self, "writers"):
            return
        try:
            self.check()
            self.mend()
            for _ in self.writers[:]:
                self.close(0)
            # Each slot is recovered and closed by whoever opens.
            self.start()
            self.append(0, 2, 0)
            self.close(0)
            self.check()
            assert_intact(self.disk, RING, require_end=True, require_manifests=True)
        finally:
            for log in (*self.left, *(writer.log for writer in self.writers)):
                log.close()
            self.warned.__exit__(None, None, None)


TestSealedLog = SealedLogMachine.TestCase
TestSealedLog.settings = settings(
    deadline=None,
    max_examples=80,
    stateful_step_count=30,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
