"""The verifier for programs: single records, chains of records, files, and checks that repeat themselves."""

from __future__ import annotations

import asyncio
import inspect
import json
import math
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from fapilog_tamper.canonical import canonicalize
from fapilog_tamper.encoding import MAX_SEQ
from fapilog_tamper.entry import chain_hash, mac_message, split
from fapilog_tamper.errors import ConfigError, FormatError
from fapilog_tamper.verify.log import PathLike, verify_lines, verify_path
from fapilog_tamper.verify.source import MAX_LINE
from fapilog_tamper.verify.tags import TagStatus, check_tag

if TYPE_CHECKING:
    from fapilog_tamper.keys.keyring import Keyring
    from fapilog_tamper.verify.report import Finding, VerifyReport

__all__ = ["Record", "Verifier", "run_self_check", "verify_chain_across_files"]

Record = Mapping[str, object] | bytes | str
"""An entry: its line, with or without the newline, or the JSON object that a reader made of it.

A record that passed through JSON is brought back to its line by RFC 8785, which is what our own encoders write. An
entry that was appended as raw bytes in another spelling can be verified as a line only.
"""

_LEVELS: Final = 64
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_BLOCK_ORDER: Final = ("v", "stream", "seq", "prev_chain_hash", "chain_hash", "algo", "key_id", "mac")


class Verifier:
    """Verifies entries against one keyring; None or an empty one accepts unkeyed chains only.

    Holds no state between calls; any thread may call it.
    """

    def __init__(self, keyring: Keyring | None = None) -> None:
        self._keyring = keyring or None

    def verify_record(self, record: Record) -> bool:
        """Tell whether one entry, looked at alone, is what was sealed.

        True: its payload, place, stream and link are under its chain hash, and its own mac holds under a trusted key
        (or it is unkeyed and no key was given). An entry without a mac of its own is never True in a keyed stream:
        only the chain can show it. Never raises for a bad record.
        """
        line = _line(record)
        try:
            payload, block = split(line)
        except FormatError:
            return False
        chain = chain_hash(block.stream, block.key_id, block.seq, block.prev_chain_hash, payload)
        if len(line) > MAX_LINE or block.v != 1 or chain != block.chain_hash:
            return False
        if block.key_id is None:
            return self._keyring is None
        status = check_tag(
            self._keyring,
            block.key_id,
            block.algo,
            stream=block.stream,
            seq=block.seq,
            message=mac_message(chain),
            tag=block.mac,
        )
        return status is TagStatus.VALID

    def verify_chain(self, records: Iterable[Record]) -> VerifyReport:
        """Verify entries in the order given, as one segment without a file. In findings, `line` is their number."""
        return verify_lines((_line(record) for record in records), self._keyring)

    async def verify_file(self, path: PathLike, manifest_path: PathLike | None = None) -> VerifyReport:
        """Verify one file in a thread, with the manifest beside it or the one given."""
        return await asyncio.to_thread(verify_path, path, keyring=self._keyring, manifest=manifest_path)


def verify_chain_across_files(files: Sequence[PathLike], keyring: Keyring | None = None) -> VerifyReport:
    """Verify files as the parts of one log, in whatever order they are given."""
    return verify_path(list(files), keyring=keyring)


async def run_self_check(
    paths: PathLike | Sequence[PathLike],
    keyring: Keyring | None,
    *,
    interval: float,
    on_finding: Callable[[Finding], Awaitable[None] | None],
) -> None:
    """Verify again and again, in a thread, until cancelled.

    Args:
        paths: as for `verify_path`; a folder that is being written to is fine.
        keyring: the keys to trust.
        interval: seconds between the end of one check and the begin of the next.
        on_finding: called with each finding that the check before had not; may be a coroutine function.

    Raises:
        ConfigError: when `interval` is not positive.
    """
    if interval <= 0:
        raise ConfigError(f"interval is {interval}.", hint="Give the seconds between two checks.")
    known: frozenset[Finding] = frozenset()
    while True:
        report = await asyncio.to_thread(verify_path, paths, keyring=keyring)
        for finding in report.findings:
            if finding not in known:
                answer = on_finding(finding)
                if inspect.isawaitable(answer):
                    await answer
        known = frozenset(report.findings)
        await asyncio.sleep(interval)


def _is_json(value: object, level: int) -> bool:
    """Tell whether canonical text stands for this value and no other."""
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
        names = [name for name in value if not isinstance(name, str)] if isinstance(value, dict) else []
        return level < _LEVELS and not names and all(_is_json(one, level + 1) for one in inner)
    if isinstance(value, str):
        return value.isascii() or not _SURROGATE.search(value)
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, bool) or (isinstance(value, int) and abs(value) <= MAX_SEQ)


def _line(record: Record) -> bytes:
    """Return the line of a record; of what is none, bytes that no check takes for one."""
    if isinstance(record, str):
        record = record.encode("utf-8", "replace")
    if isinstance(record, bytes):
        return record if record.endswith(b"\n") else record + b"\n"
    # The writer's encoder takes any value, and two values may have one text: only what JSON can hold is brought back.
    if not isinstance(record, Mapping) or not _is_json(dict(record), 0):
        return b"\n"
    members = dict(record)
    block = members.pop("integrity", None)
    payload = canonicalize(members)
    if not isinstance(block, Mapping):
        return payload + b"\n"
    known = {name: block[name] for name in _BLOCK_ORDER if name in block}
    ordered = known | {str(name): value for name, value in block.items() if name not in known}
    try:
        text = json.dumps(ordered, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    except (TypeError, ValueError, RecursionError):
        return b"\n"
    return payload[:-1] + (b"," if members else b"") + b'"integrity":' + text + b"}\n"
