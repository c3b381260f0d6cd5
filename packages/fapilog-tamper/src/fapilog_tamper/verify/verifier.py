"""The verifier for programs: single records, chains of records, files, and checks that repeat themselves."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING

from fapilog_tamper.entry import chain_hash, mac_message, split
from fapilog_tamper.errors import ConfigError, FormatError
from fapilog_tamper.verify.log import PathLike, verify_lines, verify_path
from fapilog_tamper.verify.records import Record, record_line
from fapilog_tamper.verify.source import MAX_LINE
from fapilog_tamper.verify.tags import TagStatus, check_tag

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from fapilog_tamper.keys.keyring import Keyring
    from fapilog_tamper.verify.report import Finding, VerifyReport

__all__ = ["Record", "Verifier", "run_self_check", "verify_chain_across_files"]


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
        only the chain can show it. A record with members that are not under its seal is not what was sealed; which
        forms a record may have is said at `record_line`. Never raises for a bad record.
        """
        line = record_line(record)
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
        return verify_lines((record_line(record) for record in records), self._keyring)

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
