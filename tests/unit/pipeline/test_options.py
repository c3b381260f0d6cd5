"""The options of the sealed sink: every way to give them, what is refused, and that each is read by something."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from inspect import cleandoc
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fapilog import Settings, get_logger
from fapilog.core.errors import SinkWriteError
from fapilog.plugins.sinks.rotating_file import RotatingFileSinkConfig
from pydantic import BaseModel

from fapilog_tamper import ConfigError, Keyring, SealedSink, TamperConfig, verify_path
from fapilog_tamper.entry import split
from fapilog_tamper.keys import Ed25519SigningKey, HmacKey, format_private_jwk
from fapilog_tamper.layout import STATE_FOLDER, is_segment_name
from fapilog_tamper.pipeline.config import parse_options
from fapilog_tamper.pipeline.options import SinkOptions, parse_sink_options

if TYPE_CHECKING:
    from collections.abc import Iterable

DATA = bytes(range(32))
K1 = HmacKey("k1", DATA)
ED = Ed25519SigningKey("ed-2026", bytes(range(100, 132)))
PLAIN = HmacKey("fapilog", DATA)
EVENT = {"timestamp": "2026-11-20T12:00:00.000Z", "level": "INFO", "message": "m"}


@pytest.fixture(autouse=True)
def _key(monkeypatch, tmp_path):
    monkeypatch.setenv("FAPILOG_TAMPER_KEY", DATA.hex())
    monkeypatch.chdir(tmp_path)


def make(**options: Any) -> SealedSink:
    return SealedSink(**{"directory": "logs", "exit_drain": False, **options})


def write(sink: SealedSink, events: Iterable[Any] = (EVENT,)) -> None:
    """Write events and close the log."""

    async def work() -> None:
        for event in events:
            await sink.write(event)
        await sink.stop()

    asyncio.run(work())


def segments(folder: Any = "logs") -> list[Path]:
    return sorted(path for path in Path(folder).iterdir() if path.is_file() and is_segment_name(path.name))


def lines(folder: Any = "logs") -> list[bytes]:
    found = [line for path in segments(folder) for line in path.read_bytes().splitlines(keepends=True)]
    return sorted(found, key=lambda line: (split(line)[1].stream, split(line)[1].seq))


def blocks(folder: Any = "logs") -> list[Any]:
    return [split(line)[1] for line in lines(folder)]


def refused(match: str, **options: Any) -> ConfigError:
    """Return the error of options that are refused, and warned of."""
    with pytest.warns(RuntimeWarning, match=match) as told, pytest.raises(ConfigError, match=match) as caught:
        make(**options)
    assert "fapilog leaves this sink out: no event is sealed" in str(told[0].message)
    assert caught.value.hint
    return caught.value


# Ways to give them.


class Model(BaseModel):
    filename_prefix: str = "shop"
    max_bytes: int = 5000
    key_id: str | None = None


@dataclass
class Data:
    filename_prefix: str = "shop"
    max_bytes: int = 5000


GIVEN: dict[str, Any] = {"filename_prefix": "shop", "max_bytes": 5000}


@pytest.mark.parametrize("config", [GIVEN, Model(), Data(), {"config": GIVEN}, SinkOptions(**GIVEN)])
@pytest.mark.parametrize("positional", [True, False])
def test_a_configuration_may_be_of_any_kind(config, positional):
    sink = SealedSink(config) if positional else SealedSink(config=config)
    assert (sink._options.filename_prefix, sink._options.max_bytes, sink._options.enabled) == ("shop", 5000, True)


def test_nothing_need_be_said():
    sink = SealedSink()
    assert sink._options == SinkOptions(directory=Path("logs").resolve())
    assert sink.stream == "fapilog"
    write(sink)
    assert len(lines()) == 1


def test_a_tamper_config_counts_with_what_was_said_in_it():
    with pytest.warns(RuntimeWarning, match="not enabled"):
        assert SealedSink(TamperConfig(key_id="k")).health() == "the sink is not enabled"
    sink = SealedSink(TamperConfig(enabled=True, key_id="k"), filename_prefix="shop")
    assert (sink._options.enabled, sink._options.key_id, sink.stream) == (True, "k", "shop")


def test_a_keyword_counts_before_the_configuration():
    assert SealedSink(config={"filename_prefix": "shop"}, filename_prefix="till").stream == "till"


def test_none_is_no_configuration():
    assert SealedSink(None)._options == SealedSink(config=None)._options == SealedSink()._options


@pytest.mark.parametrize("config", [5, "sealed", [("key_id", "k")], SinkOptions])
def test_what_is_no_configuration_is_refused(config):
    text = f"sealed sink cannot be configured with a {type(config).__name__}"
    with pytest.warns(RuntimeWarning, match=text), pytest.raises(ConfigError, match=text):
        SealedSink(config)


def core_sends(**more: Any) -> dict[str, Any]:
    """Return what the typed settings of fapilog send."""
    return {
        "inner_sink": "rotating_file",
        "inner_config": {},
        "sign_manifests": True,
        "key_provider": "env",
        "rotate_chain": False,
        "fsync_on_write": False,
        "fsync_on_rotate": True,
        "compress_rotated": False,
        "use_kms_signing": False,
        **more,
    }


def test_what_the_typed_settings_of_fapilog_send_is_taken():
    sink = SealedSink(**core_sends(manifest_path="copies", key_id="k", chain_state_path="state"))
    assert sink._options.state_dir == Path("state").resolve()
    write(sink)
    assert [path.name for path in Path("copies").iterdir()] == [f"{segments()[0].name}.manifest.json"]
    assert blocks()[0].key_id == "k"
    assert (Path("state") / "fapilog.chainstate").exists()


def through_fapilog(settings: Settings, data: dict[str, Any] | None = None) -> None:
    """Log two events with a logger that fapilog makes from settings alone."""
    log = get_logger(settings=settings, reuse=False)
    [sink] = log._sinks
    assert type(sink) is SealedSink
    for n in range(2):
        log.info("m", n=n, **(data or {}))
    asyncio.run(log.stop_and_drain())


def test_the_typed_settings_of_fapilog_reach_the_sink():
    inner = {"directory": "logs", "filename_prefix": "shop", "max_bytes": "5 KB"}
    sealed = {"inner_config": inner, "key_id": "k", "manifest_path": "copies", "rotate_chain": True}
    through_fapilog(
        Settings(core={"sinks": ["sealed"]}, plugins={"allow_external": True}, sink_config={"sealed": sealed})
    )
    assert [(block.stream, block.key_id) for block in blocks()] == [("shop", "k")] * 2
    assert len(list(Path("copies").iterdir())) == 1


def test_the_settings_object_of_rotating_file_reaches_the_sink_through_fapilog():
    inner = RotatingFileSinkConfig(directory=Path("logs"), filename_prefix="shop", max_bytes=4096)
    settings = Settings(
        core={"sinks": ["sealed"]},
        plugins={"allow_external": True},
        sink_config={"sealed": {"inner_config": {"config": inner}}},
    )
    through_fapilog(settings, {"text": "x" * 2500})
    assert len(segments()) == 2
    assert {block.stream for block in blocks()} == {"shop"}


def test_everything_under_extra_reaches_the_sink():
    sealed = {
        "directory": "logs",
        "filename_prefix": "shop",
        "key": "env:FAPILOG_TAMPER_KEY?kid=k&alg=HMAC-SHA256",
        "compress_rotated": "zstd",
        "state_dir": "state",
        "durability": "synced",
        "max_bytes": "5 KB",
        "interval_seconds": "1h",
        "verify_on_close": True,
        "exit_drain": False,
    }
    through_fapilog(
        Settings(
            core={"sinks": ["sealed"]}, plugins={"allow_external": True}, sink_config={"extra": {"sealed": sealed}}
        )
    )
    [path] = segments()
    assert path.name.startswith("shop_")
    assert path.suffix == ".zst"
    assert (Path("state") / "shop.chainstate").exists()


@pytest.mark.parametrize(("said", "size"), [("10 MB", 10 << 20), ("8kb", 8192), (8192, 8192), ("8192", 8192)])
def test_a_size_may_have_a_unit(said, size):
    assert parse_sink_options(None, {"max_bytes": said}).rotation.max_bytes == size
    assert parse_sink_options({"inner_config": {"max_bytes": said}}, {}).rotation.max_bytes == size


@pytest.mark.parametrize(("said", "age"), [("1h", 3600), ("90s", 90), ("500ms", 0.5), ("daily", 86400), (2.5, 2.5)])
def test_a_duration_may_have_a_unit(said, age):
    options = parse_sink_options(None, {"interval_seconds": said})
    assert (options.rotation.max_age, options.rotation.daily) == (age, False)


RINGS = [
    {"directory": "logs", "filename_prefix": "shop"},
    {"config": {"directory": "logs", "filename_prefix": "shop"}},
    {"config": RotatingFileSinkConfig(directory=Path("logs"), filename_prefix="shop")},
]


@pytest.mark.parametrize("inner", RINGS)
@pytest.mark.parametrize("name", ["rotating_file", "rotating-file", "Rotating_File"])
def test_the_settings_of_rotating_file_are_those_of_our_own_files(inner, name):
    options = parse_sink_options(None, {"inner_sink": name, "inner_config": inner})
    assert options.own_files
    assert (options.directory, options.filename_prefix) == (Path("logs").resolve(), "shop")


def test_flat_file_settings_count_before_those_of_the_inner_sink():
    options = parse_sink_options(None, {"directory": "flat", "inner_config": {"directory": "inner", "max_bytes": 9000}})
    assert (options.directory, options.max_bytes) == (Path("flat").resolve(), 9000)


def test_the_default_of_the_settings_object_does_not_undo_compression():
    inner = RotatingFileSinkConfig(directory=Path("logs"))
    assert (
        parse_sink_options(None, {"compress_rotated": "zstd", "inner_config": {"config": inner}}).compression == "zstd"
    )
    inner.compress_rotated = True
    assert parse_sink_options(None, {"inner_config": {"config": inner}}).compression == "gzip"


# What is refused.


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("fsync_on_wirte", "fsync_on_write"), ("directroy", "directory"), ("maxbytes", "max_bytes"), ("Key_id", "key_id")],
)
def test_an_unknown_option_is_refused_with_the_nearest_name(name, nearest):
    error = refused(f"sealed sink has no option '{name}'", **{name: 1})
    assert error.hint == f"Did you mean {nearest}?"


def test_an_option_that_is_like_no_other_is_refused_with_the_list():
    error = refused("sealed sink has no option 'zzzzzz'", zzzzzz=1)
    for name in (*SinkOptions.model_fields, "key_provider", "chain_state_path"):
        assert name in error.hint


def test_an_unknown_file_setting_is_refused_with_the_list():
    error = refused("inner_config has no option 'max_byte'", inner_config={"max_byte": 1})
    assert "max_bytes" in error.hint


def test_an_unknown_option_under_extra_is_warned_of_as_fapilog_does_not():
    settings = Settings(
        core={"sinks": ["sealed"]},
        plugins={"allow_external": True},
        sink_config={"extra": {"sealed": {"directroy": "logs"}}},
    )
    with pytest.warns(RuntimeWarning, match=r"no option 'directroy'\. Did you mean directory\?"):
        log = get_logger(settings=settings, reuse=False)
    assert [sink.name for sink in log._sinks] == ["stdout_json"]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"sign_manifests": False}, "sign_manifests cannot be False: unsigned, a manifest would be taken for a forged"),
        ({"fsync_on_rotate": False}, "fsync_on_rotate: False is not possible: a manifest attests only what is on"),
        ({"max_files": 3}, "max_files would delete sealed segments, which reads as tampering"),
        ({"max_total_bytes": 10_000}, "max_total_bytes would delete sealed segments"),
        ({"inner_config": {"max_files": 3}}, "max_files would delete sealed segments"),
        ({"inner_config": {"config": RotatingFileSinkConfig(directory=Path("x"), max_files=3)}}, "max_files would"),
        ({"use_kms_signing": True}, "use_kms_signing needs the key URI of a key management service as key"),
        ({"use_kms_signing": True, "key": "env:K"}, "use_kms_signing needs the key URI of a key management service"),
        ({"use_kms_signing": True, "key": "file:k"}, "use_kms_signing needs the key URI of a key management service"),
        ({"use_kms_signing": True, "key": K1}, "use_kms_signing needs the key URI of a key management service as key"),
        ({"mode": "text"}, "mode: Input should be 'json'"),
        ({"inner_config": {"mode": "text"}}, "mode: Input should be 'json'"),
        (
            {"fsync_on_write": True, "durability": "written"},
            "fsync_on_write means durability synced, and durability is",
        ),
        ({"key_source": "file"}, "key_source is file, and key_file_path is not given"),
        ({"key_provider": "aws"}, "'aws' is neither env nor file; give a key URI as key, such as awskms:"),
        ({"algorithm": "SHA-512"}, "algorithm: Input should be 'HMAC-SHA256' or 'Ed25519'"),
        ({"compress_rotated": "bzip2"}, "'bzip2' is neither gzip nor zstd, nor True or False"),
        ({"durability": "fsync"}, "durability"),
        ({"max_bytes": "10 apples"}, "max_bytes: Invalid size format: '10 apples'"),
        ({"max_bytes": -1}, "max_bytes: Size must be non-negative"),
        ({"interval_seconds": "soon"}, "interval_seconds: Invalid duration format: 'soon'"),
        ({"key_env_var": ""}, "key_env_var"),
        ({"old_keys": 5}, "old_keys"),
        ({"key": "env:K", "key_file_path": "k"}, "key and key_file_path are both given"),
        ({"directory": ""}, "directory: it is empty"),
        ({"filename_prefix": "a b"}, "filename_prefix: stream name holds U\\+0020"),
        ({"filename_prefix": "shop.r2"}, "belong to the writer"),
        ({"max_bytes": 10}, "max_bytes is 10"),
        ({"key": 5}, "key"),
        ({"enabled": "perhaps"}, "enabled"),
    ],
)
def test_what_cannot_be_is_refused(options, match):
    refused(match, **options)


def test_a_message_never_holds_a_key():
    secret = DATA.hex()
    assert secret not in str(refused("durability", key=f"hmac:{secret}", durability="fsync"))


# Each is read.


def test_enabled_false_stores_unsealed_events_apart():
    with pytest.warns(RuntimeWarning, match="it is not enabled, so events are stored unsealed; set enabled=True"):
        sink = make(enabled=False)
    write(sink)
    [path] = (Path("logs") / "unsealed").iterdir()
    assert json.loads(path.read_text())["log"]["message"] == "m"
    assert not [path for path in Path("logs").iterdir() if path.is_file()]


@pytest.mark.parametrize(
    ("said", "algorithm"),
    [("HMAC-SHA256", "HMAC-SHA256"), ("sha256", "HMAC-SHA256"), ("Ed25519", "Ed25519"), ("ed25519", "Ed25519")],
)
def test_algorithm_is_what_plain_material_is_used_with(said, algorithm):
    write(make(algorithm=said))
    assert blocks()[0].algo == algorithm


def test_algorithm_must_be_that_of_the_key():
    Path("ed.jwk").write_text(format_private_jwk(ED))
    Path("ed.jwk").chmod(0o600)
    write(make(key="file:ed.jwk", directory="a"))
    assert blocks("a")[0].algo == "Ed25519"
    sink = make(key="file:ed.jwk", directory="b", algorithm="HMAC-SHA256")
    with pytest.warns(RuntimeWarning, match="Ed25519"):
        assert "Ed25519" in str(sink.health())
    assert not Path("b").exists()


@pytest.mark.parametrize("key", [K1, ED, "env:OTHER?kid=k1&alg=HMAC-SHA256"])
def test_key_is_a_key_or_a_key_uri(key, monkeypatch):
    monkeypatch.setenv("OTHER", DATA.hex())
    monkeypatch.delenv("FAPILOG_TAMPER_KEY")
    write(make(key=key))
    assert blocks()[0].key_id == ("k1" if isinstance(key, str) else key.key_id)
    assert verify_path("logs", keyring=Keyring([K1, ED])).valid


def b64url(data: bytes) -> str:
    import base64

    return base64.urlsafe_b64encode(data).decode().rstrip("=")


@pytest.mark.parametrize("text", [DATA.hex(), b64url(DATA)])
def test_key_source_env_takes_plain_material(text, monkeypatch):
    monkeypatch.setenv("FAPILOG_TAMPER_KEY", text)
    write(make(key_source="env"))
    assert verify_path("logs", keyring=Keyring([PLAIN])).valid


@pytest.mark.parametrize("key", [K1, ED])
def test_key_source_env_takes_a_jwk(key, monkeypatch):
    monkeypatch.setenv("FAPILOG_TAMPER_KEY", format_private_jwk(key))
    write(make(key_provider="env"))
    assert blocks()[0].key_id == key.key_id
    assert verify_path("logs", keyring=Keyring([key])).valid


@pytest.mark.parametrize("name", ["key_source", "key_provider"])
def test_key_source_file_reads_the_file(name, monkeypatch):
    monkeypatch.delenv("FAPILOG_TAMPER_KEY")
    Path("k").write_text(DATA.hex())
    Path("k").chmod(0o600)
    write(make(**{name: "file"}, key_file_path="k"))
    assert verify_path("logs", keyring=Keyring([PLAIN])).valid


def test_key_env_var_is_the_variable(monkeypatch):
    monkeypatch.delenv("FAPILOG_TAMPER_KEY")
    monkeypatch.setenv("MINE", DATA.hex())
    write(make(key_env_var="MINE"))
    assert verify_path("logs", keyring=Keyring([PLAIN])).valid


def test_key_env_var_with_file_behind_names_a_file(monkeypatch, tmp_path):
    monkeypatch.delenv("FAPILOG_TAMPER_KEY")
    (tmp_path / "k").write_text(format_private_jwk(K1))
    (tmp_path / "k").chmod(0o600)
    monkeypatch.setenv("FAPILOG_TAMPER_KEY_FILE", str(tmp_path / "k"))
    write(make())
    assert verify_path("logs", keyring=Keyring([K1])).valid


def test_key_file_path_is_the_file():
    for name, byte in (("a", 1), ("b", 2)):
        Path(name).write_text(bytes([byte] * 32).hex())
        Path(name).chmod(0o600)
        write(make(key_source="file", key_file_path=name, directory=f"log-{name}"))
        assert verify_path(f"log-{name}", keyring=Keyring([HmacKey("fapilog", bytes([byte] * 32))])).valid


def test_key_id_is_what_plain_material_is_called():
    write(make(key_id="k1"))
    assert blocks()[0].key_id == "k1"
    write(make(directory="other"))
    assert blocks("other")[0].key_id == "fapilog"


def test_key_file_path_alone_says_where_the_key_is(monkeypatch):
    monkeypatch.delenv("FAPILOG_TAMPER_KEY")
    Path("own.jwk").write_text(format_private_jwk(K1))
    Path("own.jwk").chmod(0o600)
    write(make(key_file_path="own.jwk"))
    assert blocks()[0].key_id == "k1"


def test_what_is_wrong_with_an_old_key_is_said_of_old_keys():
    write(make(key=K1))
    with pytest.warns(RuntimeWarning, match="old_keys: key file .*gone.jwk does not exist"):
        make(key=K1, old_keys="file:gone.jwk").health()


def test_another_key_without_the_old_one_is_told_of_old_keys():
    write(make(key=K1))
    with pytest.warns(RuntimeWarning, match="Give the key that it was under in old_keys"):
        make(key=ED).health()


def test_the_typed_algorithm_of_fapilog_says_nothing_of_the_key():
    """fapilog sends sha256 whether or not anybody said so."""
    write(make(key=ED, algorithm="sha256"))
    assert blocks()[0].algo == "Ed25519"


def test_key_id_of_a_jwk_counts_where_none_is_given(monkeypatch):
    monkeypatch.setenv("FAPILOG_TAMPER_KEY", format_private_jwk(K1))
    write(make())
    assert blocks()[0].key_id == "k1"


def test_old_keys_let_a_stream_go_on_under_another_key(monkeypatch):
    monkeypatch.setenv("OLD", DATA.hex())
    monkeypatch.setenv("NEW", bytes(range(50, 82)).hex())
    old, new = "env:OLD?kid=k1&alg=HMAC-SHA256", "env:NEW?kid=k2&alg=HMAC-SHA256"
    write(make(key=old))
    with pytest.warns(RuntimeWarning, match="no event is stored: "):
        assert "k1" in str(make(key=new).health())
    write(make(key=new, old_keys=[old]))
    assert [(block.seq, block.key_id) for block in blocks()] == [(1, "k1"), (2, "k2")]
    ring = Keyring([K1, HmacKey("k2", bytes(range(50, 82)))])
    assert verify_path("logs", keyring=ring, require_end=True, require_manifests=True).valid


@pytest.mark.parametrize("name", ["state_dir", "chain_state_path"])
def test_state_dir_is_where_heads_are_put(name):
    write(make(**{name: "state"}))
    assert not (Path("logs") / STATE_FOLDER).exists()
    assert (Path("state") / "fapilog.chainstate").exists()


@pytest.mark.parametrize(
    ("options", "promise"),
    [
        ({}, "written"),
        ({"fsync_on_write": True}, "synced"),
        ({"fsync_on_write": True, "durability": "synced"}, "synced"),
    ],
)
def test_fsync_on_write_brings_each_event_to_the_disk(options, promise):
    require_promise(options, promise)


@pytest.mark.parametrize("durability", ["accepted", "written", "synced"])
def test_durability_is_what_is_promised_of_an_event(durability):
    require_promise({"durability": durability}, durability)


def require_promise(options: dict[str, Any], promise: str) -> None:
    async def work() -> None:
        sink = make(**options)
        log = sink._journal.open()
        for count in range(1, 4):
            await sink.write(EVENT)
            assert promise != "synced" or log.stats.synced == count
            assert promise == "accepted" or log.stats.written == count
        assert promise in repr(log)
        await sink.stop()

    asyncio.run(work())


@pytest.mark.skipif(os.name == "nt" or sys.platform == "darwin", reason="counts the call that Linux has")
def test_fsync_on_rotate_is_always_so(monkeypatch):
    calls = []
    real = os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda handle: (calls.append(handle), real(handle))[1])

    async def work() -> None:
        sink = make(fsync_on_rotate=True)
        for count in range(1, 4):
            await sink.write(EVENT)
            await sink.rotate()
            assert len(calls) >= count
        await sink.stop()

    asyncio.run(work())


@pytest.mark.parametrize(("said", "ending"), [(False, ".jsonl"), (True, ".gz"), ("gzip", ".gz"), ("zstd", ".zst")])
def test_compress_rotated_is_what_closed_segments_are_compressed_with(said, ending):
    write(make(compress_rotated=said))
    assert [path.suffix for path in segments()] == [ending]


@pytest.mark.parametrize("rotate_chain", [False, True])
def test_rotate_chain_begins_a_stream_with_every_segment(rotate_chain):
    async def work() -> None:
        sink = make(rotate_chain=rotate_chain)
        for _ in range(3):
            await sink.write(EVENT)
            await sink.rotate()
        await sink.stop()

    asyncio.run(work())
    streams = ["fapilog", "fapilog.r2", "fapilog.r3"] if rotate_chain else ["fapilog"] * 3
    assert sorted(block.stream for block in blocks()) == streams


def changed_before_close(**options: Any) -> SealedSink:
    """Return a sink whose segment was changed before it closed it."""
    sink = make(**options)

    async def work() -> None:
        await sink.write(EVENT)
        [path] = segments()
        path.write_bytes(path.read_bytes().replace(b'"message":"m"', b'"message":"n"'))
        await sink.stop()

    asyncio.run(work())
    return sink


@pytest.mark.parametrize("verify", [True, False])
def test_verify_on_close_reads_segments_back(verify):
    sink = changed_before_close(verify_on_close=verify, alert_on_failure=False)
    assert ("was closed and is tampered" in str(sink.health())) == verify


def test_alert_on_failure_warns_of_what_is_found():
    with pytest.warns(RuntimeWarning, match="was closed and is tampered"):
        changed_before_close(verify_on_close=True)


def test_max_payload_is_the_bound_of_events():
    write(make(max_payload=1000), [{**EVENT, "data": {"text": "x" * 5000}}])
    assert 800 < len(split(lines()[0])[0]) <= 1000
    assert b"[cut " in lines()[0]


def test_use_kms_signing_is_taken_with_the_key_of_a_service():
    assert make(use_kms_signing=True, key="awskms:alias/log").health_check
    refused("use_kms_signing", use_kms_signing=True, key="env:FAPILOG_TAMPER_KEY")


@pytest.mark.parametrize("exit_drain", [True, False])
def test_exit_drain_is_installed_where_it_is_asked_for(exit_drain):
    code = (
        "from fapilog_tamper import SealedSink\n"
        "from fapilog_tamper.pipeline.draining import is_installed\n"
        f"SealedSink(exit_drain={exit_drain})\n"
        "print(is_installed())"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == [str(exit_drain)]


def test_inner_sink_gets_the_record():
    class Mine:
        name = "mine"
        got: list[Any] = []  # noqa: RUF012 (one test, one list)

        async def write(self, entry: Any) -> None:
            self.got.append(entry)

    write(make(inner_sink=Mine()))
    assert Mine.got == [json.loads(line) for line in lines()]


def test_inner_config_is_the_configuration_of_the_inner_sink():
    write(SealedSink(inner_config={"directory": "mine"}, exit_drain=False))
    assert len(lines("mine")) == 1
    refused("inner sink http", inner_sink="http", inner_config={"no_such": 1})


def test_directory_is_where_segments_are_put():
    write(make(directory="here/there"))
    assert len(lines("here/there")) == 1
    write(SealedSink(exit_drain=False))
    assert len(lines("logs")) == 1


def test_filename_prefix_is_the_stream():
    write(make(filename_prefix="shop"))
    assert blocks()[0].stream == "shop"
    assert segments()[0].name.startswith("shop_")


def test_mode_is_json():
    assert make(mode="json")._options.mode == "json"
    refused("mode", mode="text")


@pytest.mark.parametrize(("max_bytes", "many"), [(4096, True), ("1 MB", False), (None, False)])
def test_max_bytes_closes_segments(max_bytes, many):
    write(make(max_bytes=max_bytes), [{**EVENT, "data": {"text": "x" * 400}}] * 20)
    assert (len(segments()) > 1) == many
    assert all(path.stat().st_size <= 4096 for path in segments()) == many


@pytest.mark.parametrize(("interval", "many"), [(0.01, True), ("1h", False)])
def test_interval_seconds_closes_segments(interval, many):
    def is_closed() -> bool:
        return any(Path("logs").glob("*.manifest.json"))

    async def work() -> None:
        sink = make(interval_seconds=interval)
        await sink.write(EVENT)
        for _ in range(1000):
            await asyncio.sleep(0.005)
            if not many or is_closed():
                break
        await sink.write(EVENT)
        await sink.stop()

    asyncio.run(work())
    assert (len(segments()) == 2) == many


@pytest.mark.parametrize("name", ["max_files", "max_total_bytes"])
def test_max_files_and_max_total_bytes_are_refused_unless_none(name):
    write(make(**{name: None}))
    refused(f"{name} would delete sealed segments", **{name: 0})


def test_manifest_path_gets_a_copy_of_every_manifest():
    write(make(manifest_path="copies", max_bytes=4096), [{**EVENT, "data": {"text": "x" * 400}}] * 20)
    manifests = {path.name: path.read_bytes() for path in Path("logs").glob("*.manifest.json")}
    assert len(manifests) > 1
    assert {path.name: path.read_bytes() for path in Path("copies").iterdir()} == manifests


def test_sign_manifests_is_always_so():
    write(make(sign_manifests=True))
    [path] = Path("logs").glob("*.manifest.json")
    assert json.loads(path.read_text())["signature"]


def test_timeout_is_how_long_an_event_waits_for_the_disk(monkeypatch):
    def full(*_arguments):
        raise OSError(errno.ENOSPC, "no space")

    sink = make(timeout=0.2)
    assert sink.health() is None
    monkeypatch.setattr(os, "pwrite", full)
    with pytest.warns(RuntimeWarning, match="no space"), pytest.raises(SinkWriteError, match="in time"):
        asyncio.run(sink.write(EVENT))
    monkeypatch.undo()
    refused("timeout: Input should be greater than 0", timeout=0)


def test_each_option_has_a_test_here():
    names = [name for name in globals() if name.startswith("test_")]
    aliases = {"max_total_bytes": "max_files_and_max_total_bytes"}
    assert set(TamperConfig.model_fields) < set(SinkOptions.model_fields)
    assert [
        one
        for one in SinkOptions.model_fields
        if not any(name.startswith(f"test_{aliases.get(one, one)}_") for name in names)
    ] == []


def test_each_option_is_explained():
    for kind in (TamperConfig, SinkOptions):
        own = set(kind.model_fields) - (set(TamperConfig.model_fields) if kind is SinkOptions else set())
        refused_ones = {"max_files", "max_total_bytes"}
        assert [
            name for name in sorted(own - refused_ones) if f"\n    {name}: " not in cleandoc(kind.__doc__ or "")
        ] == []


def test_the_name_of_the_plugin_is_in_its_errors():
    with pytest.raises(ConfigError, match="integrity enricher has no option 'x'"):
        parse_options(TamperConfig, "integrity enricher", None, {"x": 1})
