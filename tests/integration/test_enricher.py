"""The enricher in real loggers of fapilog: what their sinks wrote is verified, over many processes and their ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import warnings
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fapilog import Settings, get_logger
from integration.loopback import receiver
from typer.testing import CliRunner

from fapilog_tamper import Keyring, Verifier, verify_path
from fapilog_tamper.cli.app import app
from fapilog_tamper.keys import Ed25519SigningKey, HmacKey, write_key_files

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fapilog.core.serialization import SerializedView

SECRET = bytes(range(32)).hex()
KEY = "env:FAPILOG_TAMPER_KEY?kid=fapilog&alg=HMAC-SHA256"
VERIFIER = Verifier(Keyring([HmacKey("fapilog", bytes(range(32)))]))

MAKE = """
import asyncio, json, os, signal, sys, threading, warnings
from pathlib import Path
from time import monotonic
from fapilog import LoggerBuilder, Settings, get_logger

def make(core={}, integrity={}, sinks=None, **more):
    settings = {
        "core": {"sinks": ["rotating_file"], "enrichers": ["integrity"], "enable_redactors": False, **core},
        "plugins": {"allow_external": True},
        "sink_config": {"rotating_file": {"directory": "plain"}},
        "enricher_config": {"extra": {"integrity": {"state_dir": "state", **integrity}}},
    }
    return get_logger(settings=Settings(**(settings | more)), sinks=sinks, reuse=False)

def log(logger, count, first=0):
    for number in range(first, first + count):
        logger.info("event", n=number)

def drain(logger):
    asyncio.run(logger.stop_and_drain())

def written(logger):
    # Wait until something of this process stands in a file.
    logger.info("mark", own=os.getpid())
    end = monotonic() + 30
    text = b'"own":%d}' % os.getpid()
    while not any(text in path.read_bytes() for path in Path("plain").glob("*")) and monotonic() < end:
        pass
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FAPILOG_TAMPER_KEY", SECRET)
    # With serialize_in_flush fapilog does not start the sink that would make it.
    Path("plain").mkdir()
    return tmp_path


def start(code: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", MAKE + code],
        env={**os.environ, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(code: str, expected: int = 0, **environment: str) -> tuple[str, str]:
    """Run a program to its end; return what it wrote to stdout and stderr."""
    with start(code, **environment) as process:
        out, err = process.communicate(timeout=60)
    assert process.returncode == expected, err
    return out, err


def files() -> list[str]:
    return sorted(str(path) for path in Path("plain").glob("*") if path.stat().st_size)


def records() -> list[dict[str, Any]]:
    return [json.loads(line) for file in files() for line in Path(file).read_bytes().splitlines()]


def blocks() -> list[dict[str, Any]]:
    return [record["log"]["diagnostics"]["integrity"] for record in records()]


def chains() -> Counter[str]:
    """How many records each chain has; a seq twice in one is a failure."""
    places = [(block["stream"], block["seq"]) for block in blocks()]
    assert len(set(places)) == len(places)
    return Counter(stream for stream, _ in places)


def verify(*paths: str, key: str = KEY) -> tuple[str, list[str]]:
    """Verify all records together; return the outcome and the codes of the findings."""
    result = CliRunner().invoke(app, ["verify", *(paths or files()), "--records", "--key", key, "--json"])
    report = json.loads(result.stdout)
    assert result.exit_code == {"intact": 0, "tampered": 1, "undetermined": 3}[report["outcome"]]
    return report["outcome"], [finding["code"] for finding in report["findings"]]


INTACT = ("intact", [])

ODD_VALUES = """
import datetime, decimal, uuid
values = dict(
    when=datetime.datetime(2026, 1, 2, 3, 4, 5), price=decimal.Decimal("1.50"), some={3, 1, 2}, pair=(1, (2, 3)),
    raw=b"\\xff", nothing=float("nan"), huge=10**40, big=2**64, large=2.0**60, id=uuid.uuid4(), thing=object(),
    names={1: "a", None: {2: "b"}}, torn="\\ud800", long="x" * 200_000, many={str(n): n for n in range(20_000)},
)
for name, value in values.items():
    logger.info("value", **{name: value})
logger.info("all", user_id=5, request_id="r", **values)
try:
    1 / 0
except ZeroDivisionError:
    logger.exception("failed")
drain(logger)
"""


@pytest.mark.parametrize("in_flush", [False, True])
def test_what_rotating_file_wrote_is_verified_whatever_was_logged(place: Path, *, in_flush: bool) -> None:
    _, said = run(f"logger = make(core={{'serialize_in_flush': {in_flush}}})" + ODD_VALUES)
    assert "Warning" not in said
    assert len(records()) == 17
    assert verify() == INTACT
    text = Path(files()[0]).read_text(encoding="utf-8")
    Path(files()[0]).write_text(text.replace('"2026-01-02T03:04:05"', '"2026-01-02T03:04:06"', 1), encoding="utf-8")
    assert verify()[0] == "tampered"


def test_what_stdout_json_wrote_is_verified_whatever_was_logged(place: Path) -> None:
    core = {"sinks": ["stdout_json"]}
    out, said = run(f"logger = make(core={core})" + ODD_VALUES)
    assert "Warning" not in said
    Path("stdout.jsonl").write_text(out, encoding="utf-8")
    assert len(out.splitlines()) == 17
    assert verify("stdout.jsonl") == INTACT


class Keeping:
    """A sink of one's own, which gets dicts."""

    name = "keeping"

    def __init__(self) -> None:
        self.entries: list[dict[str, Any]] = []

    async def start(self) -> None:
        """Nothing."""

    async def stop(self) -> None:
        """Nothing."""

    async def write(self, entry: dict[str, Any]) -> bool:
        self.entries.append(entry)
        return True

    async def write_serialized(self, view: SerializedView) -> bool:
        return await self.write(json.loads(view.data))


def keep(*, core: dict[str, Any] | None = None, **more: Any) -> Keeping:
    """Log ten events to a sink of one's own in this process."""
    sink = Keeping()
    settings = {
        "core": {"enrichers": ["integrity"], "enable_redactors": False, **(core or {})},
        "plugins": {"allow_external": True},
        "enricher_config": {"extra": {"integrity": {"state_dir": "state", "exit_drain": False}}},
    }
    logger = get_logger(settings=Settings(**(settings | more)), sinks=[sink], reuse=False)
    for number in range(10):
        logger.info("event", n=number, inner={"a": (number,)})
    asyncio.run(logger.stop_and_drain())
    return sink


@contextmanager
def quiet() -> Iterator[None]:
    """Nothing may be said in here."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", RuntimeWarning)
        yield
    assert [str(one.message) for one in said if one.category is RuntimeWarning] == []


def test_what_a_sink_of_ones_own_got_is_verified_as_it_is(place: Path) -> None:
    with quiet():
        entries = keep().entries + keep().entries
    assert len(entries) == 20
    assert all(VERIFIER.verify_record(entry) for entry in entries)
    assert VERIFIER.verify_chain(entries).valid
    Path("got.json").write_text(json.dumps(entries))
    assert verify("got.json") == INTACT
    entries[3]["data"]["n"] = 99
    assert not VERIFIER.verify_record(entries[3])


@pytest.mark.parametrize("form", ["array", "ndjson", "wrapped"])
def test_what_the_http_sink_posted_is_verified(place: Path, form: str) -> None:
    code = """
from fapilog.plugins.sinks.http_client import HttpSink
logger = make(sinks=[HttpSink(endpoint=%r, batch_size=5, batch_format=%r)])
log(logger, 20)
drain(logger)
"""
    with receiver() as server:
        _, said = run(code % (server.url, form))
        Path("received.json").write_bytes(b"\n".join(body for _, _, body in server.requests))
    assert "RuntimeWarning" not in said
    assert len(server.requests) == 4
    assert verify("received.json") == INTACT


# The ends of processes.


@pytest.mark.parametrize(
    ("end", "code"),
    [
        ("drain(logger)", 0),
        ("", 0),
        ("sys.exit(3)", 3),
        ("raise RuntimeError('bug')", 1),
        ("os.kill(os.getpid(), signal.SIGTERM); threading.Event().wait()", -signal.SIGTERM),
    ],
)
def test_a_chain_goes_on_over_every_end_that_is_one(place: Path, end: str, code: int) -> None:
    for first in (0, 40):
        run(f"logger = make()\nlog(logger, 40, {first})\n{end}", expected=code)
    assert list(chains().values()) == [80]
    assert verify() == INTACT


def test_a_chain_goes_on_where_nobody_drains_at_exit(place: Path) -> None:
    """fapilog may lose its queue then, but what was sealed is known to the next process."""
    for _ in range(2):
        run("logger = make(core={'atexit_drain_enabled': False}, integrity={'exit_drain': False})\nwritten(logger)")
    assert list(chains().values()) == [2]
    assert verify() == INTACT


def test_a_chain_that_was_cut_off_is_never_gone_on_with(place: Path) -> None:
    run("logger = make()\nlog(logger, 10)")
    run("logger = make()\nwritten(logger)\nos._exit(0)")
    run("logger = make()\nwritten(logger)\nos.kill(os.getpid(), signal.SIGKILL)", expected=-signal.SIGKILL)
    run("logger = make()\nlog(logger, 10)")
    assert sorted(chains().values()) == [1, 10, 11]
    assert verify() == INTACT


def test_a_process_that_is_killed_while_it_writes_gives_no_seq_twice(place: Path) -> None:
    run("logger = make()\nlog(logger, 10)")
    with start("logger = make()\nwhile True: log(logger, 50)") as process:
        deadline = time.monotonic() + 30
        while sum(1 for _ in _lines()) < 100 and time.monotonic() < deadline:
            time.sleep(0.02)
        process.kill()
    run("logger = make()\nlog(logger, 10)")
    counts = chains()
    assert len(counts) == 2
    assert sum(counts.values()) >= 110
    outcome, codes = verify()
    assert outcome != "tampered"
    assert set(codes) <= {"entries-missing", "torn-tail"}


def _lines() -> Iterator[bytes]:
    for path in Path("plain").glob("*"):
        yield from path.read_bytes().splitlines()


def test_several_processes_on_one_state_have_a_chain_each_and_all_go_on(place: Path) -> None:
    code = "logger = make()\nwritten(logger)\nprint('up', flush=True)\ninput()\nlog(logger, 99, 1)"
    for _ in range(2):
        processes = [start(code) for _ in range(2)]
        for process in processes:
            assert process.stdout.readline() == "up\n"
        for process in processes:
            _, said = process.communicate("go\n", timeout=60)
            assert (process.returncode, "Warning" in said) == (0, False), said
    assert sorted(chains().values()) == [200, 200]
    assert verify() == INTACT


def test_a_forked_child_has_a_chain_of_its_own(place: Path) -> None:
    code = """
logger = make()
log(logger, 9)
written(logger)
child = os.fork()
if child == 0:
    own = make()
    log(own, 10, 100)
    drain(own)
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
log(logger, 10, 10)
drain(logger)
"""
    run(code, PYTHONWARNINGS="ignore::DeprecationWarning")
    assert sorted(chains().values()) == [10, 20]
    assert verify() == INTACT


def test_four_workers_and_sixteen_writes_at_once_give_each_record_its_seq(place: Path) -> None:
    code = """
logger = make(core={"worker_count": 4, "sink_concurrency": 16, "max_queue_size": 20000, "drop_on_full": False})
threads = [threading.Thread(target=log, args=(logger, 300, 300 * number)) for number in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
drain(logger)
"""
    run(code)
    assert list(chains().values()) == [1200]
    assert sorted(record["log"]["data"]["n"] for record in records()) == list(range(1200))
    assert verify() == INTACT


def test_a_state_that_cannot_be_believed_begins_a_new_chain(place: Path) -> None:
    run("logger = make()\nlog(logger, 10)")
    (state,) = Path("state").glob("*.chain")
    state.write_bytes(b"junk")
    _, said = run("logger = make()\nlog(logger, 10)")
    assert said.count("RuntimeWarning") == 1
    assert "the state of its chain is damaged" in said
    state.write_text(state.read_text().replace('"seq":10', '"seq":5'))
    _, said = run("logger = make()\nlog(logger, 10)")
    assert "is not of this key" in said
    state.unlink()
    run("logger = make()\nlog(logger, 10)")
    assert list(chains().values()) == [10, 10, 10, 10]
    assert verify() == INTACT


def test_rotate_chain_is_a_new_chain_at_each_start(place: Path) -> None:
    for _ in range(2):
        run("logger = make(integrity={'rotate_chain': True})\nlog(logger, 5)")
    assert list(chains().values()) == [5, 5]


def test_an_end_that_is_kept_elsewhere_is_held_against_the_records(place: Path) -> None:
    run("logger = make()\nlog(logger, 10)")
    (state,) = Path("state").glob("*.chain")
    head = ["--head", str(state)]
    assert CliRunner().invoke(app, ["verify", *files(), "--records", "--key", KEY, *head]).exit_code == 0
    (file,) = files()
    Path(file).write_bytes(b"".join(Path(file).read_bytes().splitlines(keepends=True)[:-2]))
    assert verify() == INTACT
    result = CliRunner().invoke(app, ["verify", *files(), "--records", "--key", KEY, *head])
    assert (result.exit_code, "entries 9 to 10" in result.stdout) == (3, True)


# Keys and configuration.


def test_without_a_key_each_record_is_marked_and_found(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FAPILOG_TAMPER_KEY")
    _, said = run("logger = make()\nlog(logger, 10)")
    assert said.count("RuntimeWarning: integrity enricher: events are not sealed") == 1
    assert blocks() == [{"status": "unsealed"}] * 10
    monkeypatch.setenv("FAPILOG_TAMPER_KEY", SECRET)
    result = CliRunner().invoke(app, ["verify", *files(), "--records", "--key", KEY])
    assert result.exit_code == 1
    assert f"integrity-missing  {files()[0]}:1-10\n" in result.stdout


def test_beside_a_sealed_sink_events_only_name_stream_and_key(place: Path) -> None:
    code = """
logger = make(core={"sinks": ["sealed"], "enable_redactors": True, "enrichers": ["runtime_info", "integrity"]},
              sink_config={"extra": {"sealed": {"directory": "log"}}})
for number in range(20):
    logger.info("event", n=number, password="p", url="http://u:p@h/")
"""
    _, said = run(code)
    assert "Warning" not in said
    report = verify_path("log", keys=[HmacKey("fapilog", bytes(range(32)))], require_end=True, require_manifests=True)
    assert (report.valid, report.entries) == (True, 20)
    lines = [line for path in Path("log").glob("*.jsonl") for line in path.read_bytes().splitlines()]
    bound = [json.loads(line)["log"]["diagnostics"]["integrity"] for line in lines]
    assert bound == [{"stream": "fapilog", "key_id": "fapilog"}] * 20
    assert not Path("state").exists()
    Path("sent.json").write_text(json.dumps([json.loads(line) for line in lines]))
    assert verify("sent.json") == INTACT
    assert verify("log", "sent.json") == INTACT


@pytest.mark.parametrize(
    ("core", "names"),
    [
        (
            {"redactors": ["url_credentials", "field_mask"], "enable_redactors": True},
            ["redactor url_", "redactor field"],
        ),
        ({"enrichers": ["runtime_info", "integrity", "context_vars"]}, ["enricher runtime_info", "enricher context"]),
        ({"enrichers": ["integrity", "runtime_info"]}, ["enricher runtime_info"]),
        ({"processors": ["size_guard"], "serialize_in_flush": True}, ["processor size_guard"]),
    ],
)
def test_what_would_break_the_proof_is_named(place: Path, core: dict[str, Any], names: list[str]) -> None:
    with pytest.warns(RuntimeWarning, match="as they are before others change them") as said:
        keep(core=core)
    assert len(said) == 1
    assert all(name in str(said[0].message) for name in names)


@pytest.mark.parametrize("core", [{}, {"processors": ["zero_copy"], "serialize_in_flush": True}, {"redactors": []}])
def test_nothing_is_said_where_nothing_changes_events(place: Path, core: dict[str, Any]) -> None:
    with quiet():
        entries = keep(core=core).entries
    assert len(entries) == 10
    assert all(VERIFIER.verify_record(entry) for entry in entries)


def test_no_preset_ends_in_a_false_alarm_that_nobody_was_told_of(place: Path) -> None:
    code = """
for preset in ["dev", "minimal", "production", "serverless", "hardened", "adaptive"]:
    for others in ([], ["runtime_info"]):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            builder = LoggerBuilder().with_preset(preset).with_plugins(allow_external=True).reuse(False)
            builder = builder.with_enrichers("integrity", *others).add_file(f"plain/{preset}{len(others)}")
            logger = builder.configure_enricher("integrity", chain_state_path="state").build()
            for n in range(5):
                logger.info("event", n=n, url="http://u:p@h/x", password="p", email="a@b.example", ssn="123-45-6789")
            drain(logger)
        texts = [str(one.message) for one in said if one.category is RuntimeWarning]
        Path(f"plain/{preset}{len(others)}.said").write_text("".join(texts))
"""
    run(code)
    warned = {}
    for said in sorted(Path("plain").glob("*.said")):
        written = [str(path) for path in said.with_suffix("").glob("*.jsonl")]
        assert sum(Path(path).read_bytes().count(b"\n") for path in written) == 5, said
        warned[said.stem] = "it seals events as they are before others change them" in said.read_text()
        assert warned[said.stem] or verify(*written) == INTACT
    # Else the first half of the rule would hide what the second is to show.
    assert [name for name, told in warned.items() if not told] == ["dev0", "minimal0"]
    assert len(warned) == 12


@pytest.mark.parametrize(("way", "algorithm"), [("typed", "ed25519"), ("extra", "sha256"), ("environment", "ed25519")])
def test_it_is_configured_in_each_way_that_fapilog_has(place: Path, way: str, algorithm: str) -> None:
    options = {"algorithm": algorithm, "key_id": "k9", "chain_state_path": "elsewhere"}
    environment, config = {}, {"integrity": options}
    if way == "extra":
        config = {"extra": {"integrity": options}}
    if way == "environment":
        config = {}
        environment = {f"FAPILOG_ENRICHER_CONFIG__INTEGRITY__{name.upper()}": text for name, text in options.items()}
    given = "" if way == "environment" else f", enricher_config={config}"
    code = """
settings = Settings(core={"sinks": ["rotating_file"], "enrichers": ["integrity"], "enable_redactors": False},
    plugins={"allow_external": True}, sink_config={"rotating_file": {"directory": "plain"}}%s)
logger = get_logger(settings=settings, reuse=False)
log(logger, 5)
"""
    _, said = run(code % given, **environment)
    assert "Warning" not in said
    key = HmacKey("k9", bytes(range(32))) if algorithm == "sha256" else Ed25519SigningKey("k9", bytes(range(32)))
    assert {(block["key_id"], block["algo"]) for block in blocks()} == {("k9", key.algorithm)}
    paths = write_key_files("k9.jwk", key)
    assert verify(key=f"file:{paths[-1]}") == INTACT
    assert (Path("elsewhere") / "events.chain").exists()
