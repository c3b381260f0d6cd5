"""`AuditTrail`: who did what, under a policy, sealed and provable.

This module owns a trail's settings and its life: start, drain, stop. `writes` has every way to log, `reads` every
question, `recorder` the way of an event.
"""

from __future__ import annotations

import os
import platform
import socket
import sys
import threading
import warnings
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Self
from weakref import WeakSet

from fapilog_audit.backends.base import StorageBackend
from fapilog_audit.backends.file import FileStorageBackend
from fapilog_audit.checking import check_open_segments
from fapilog_audit.compliance.validate import broken_rules
from fapilog_audit.errors import ConfigError, IntegrityError, StoppedError, StorageError
from fapilog_audit.kinds import AuditEventType, AuditLogLevel
from fapilog_audit.ledger import off_loop
from fapilog_audit.policy import CompliancePolicy
from fapilog_audit.reads import TrailReader
from fapilog_audit.settings import STREAM, TrailSettings
from fapilog_audit.version import __version__
from fapilog_audit.writes import TrailWriter
from fapilog_tamper import __version__ as tamper_version
from fapilog_tamper.errors import HintedError, SealKeyError
from fapilog_tamper.writer.stats import Health
from fapilog_tamper.writer.troubles import warn

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from fapilog_audit.settings import AlertHandler, Compression
    from fapilog_tamper.keys import SigningKey
    from fapilog_tamper.writer.promise import Durability

__all__ = ["AuditTrail"]

_STOP: Final = 5.0
_COMPONENT: Final = "fapilog_audit"
_TRAILS: Final[WeakSet[AuditTrail]] = WeakSet()


class AuditTrail(TrailReader, TrailWriter):
    """An audit trail: one folder of sealed events, or a backend that gets them.

    Any number of threads and event loops may log at the same time. It starts with the first event, or with `start()`;
    use it as an async context manager, so that its end is attested. What is open at interpreter exit is closed then.

    Args:
        policy: what is recorded how; `CompliancePolicy()` unless given.
        storage_path: the folder; `audit_logs` unless given, or `audit_logs/<name>` with a name.
        backend: where sealed events go, in place of files in `storage_path`.
        storage_backend: another name of `backend`.
        name: what the trail is called.
        key: a key URI (`env:VAR`, `file:PATH`) or a signing key; each event then carries its HMAC or signature. None:
            an unkeyed chain, which anyone can recompute; every verification says so.
        old_keys: URIs of keys that earlier events are under.
        state_dir: where head, locks and (with a backend) the outbox lie; `.fapilog` in the folder unless given. Better
            on another volume: a head beside the log falls with it.
        durability: what is promised when `log_event` returns: `accepted` (in memory), `written` (survives the process;
            the default) or `synced` (survives the machine). The policy may ask for more.
        timeout: seconds that an event waits for a disk or backend that does not answer.
        inline: False: no caller ever waits inside a system call; each event then costs a hand-over to a thread.
        max_bytes: the size at which a file is closed and the next begun; at midnight UTC in any case.
        compress: what closed files are compressed with: `none`, `gzip` or `zstd`.
        max_buffer_bytes: bytes of events that may wait in memory while they cannot be stored; beyond, they are lost,
            counted, and told of in the trail.
        strict: an issue of severity `error` with the policy is an error of `start()` instead of a warning.
        on_alert: functions that get an event worth an alert, in a thread of their own; may be coroutine functions.
            Without any, alerts go to the logger `fapilog_audit.alerts`.

    Raises:
        ConfigError: something that cannot work. Storage that cannot be written is no such thing: see
            `CompliancePolicy.on_storage_failure`.
    """

    def __init__(  # noqa: PLR0913 (settings, each by its name)
        self,
        policy: CompliancePolicy | None = None,
        storage_path: str | os.PathLike[str] | None = None,
        backend: StorageBackend | None = None,
        *,
        storage_backend: StorageBackend | None = None,
        name: str | None = None,
        key: str | SigningKey | None = None,
        old_keys: Sequence[str] = (),
        state_dir: str | os.PathLike[str] | None = None,
        durability: Durability | None = None,
        timeout: float = 5.0,
        inline: bool = True,
        max_bytes: int | None = 256 << 20,
        compress: Compression = "none",
        max_buffer_bytes: int = 8 << 20,
        strict: bool = False,
        on_alert: AlertHandler | Sequence[AlertHandler] = (),
    ) -> None:
        settings = TrailSettings(
            storage_path=storage_path,
            name=name,
            key=key,
            old_keys=old_keys,
            state_dir=state_dir,
            durability=durability,
            timeout=timeout,
            inline=inline,
            max_bytes=max_bytes,
            compress=compress,
            max_buffer_bytes=max_buffer_bytes,
            strict=strict,
            on_alert=on_alert,
        )
        if policy is not None and not isinstance(policy, CompliancePolicy):
            raise ConfigError(f"policy is {policy!r:.80}.", hint="Give a CompliancePolicy.")
        self.policy = CompliancePolicy() if policy is None else policy
        self.policy.require_possible()
        self.given_backend = storage_backend if backend is None else backend
        """The backend that the trail was given."""
        foreign, self.settings = _place(settings, backend, storage_backend)
        super().__init__(self.settings.folder, self.policy, foreign, self.settings.keyring, self.settings.outbox)
        TrailWriter.__init__(self, self.settings, self.policy, foreign, self._check_open_segments)
        self._life = threading.RLock()
        self._started = self._stopped = False
        self._suspect: str | None = None
        _TRAILS.add(self)

    def let_go(self) -> None:
        """Begin anew in a child that was just forked."""
        super().let_go()
        self._life = threading.RLock()

    # Life.

    @property
    def storage_path(self) -> Path:
        """The folder of the trail, as it was given."""
        return self.settings.place

    @property
    def started(self) -> bool:
        """Whether it was started, and not stopped since."""
        return self._started

    @property
    def name(self) -> str | None:
        """What the trail is called."""
        return self.settings.name

    async def start(self) -> None:
        """Validate the policy and open the storage; nothing happens where that is done.

        Storage that cannot be opened is an error only where the policy does not contain it; it is tried again with the
        events.

        Raises:
            ConfigError: `strict`, and there are issues with the policy.
            SealKeyError: the key cannot be had, or is not the one that the trail was sealed with.
            StorageError: the storage cannot be opened, and the policy does not contain that.
            IntegrityError: the open segment was changed, and the policy does not contain it.
        """
        await off_loop(self.start_now)

    def start_now(self) -> None:
        """As `start`, for code that is no coroutine; may wait for the disk."""
        with self._life:
            if self._started:
                return
            self._validate()
            if self._stopped:
                self._recorder.begin_again()
                self._stopped = False
            if self.policy.enabled:
                self._open()
            self._ready, self._idle = self.policy.enabled, not self.policy.enabled
            self._started = True
        if self.policy.lifecycle_events and self._ready:
            told = "the audit trail was started"
            self.log(AuditEventType.SYSTEM_STARTUP, told, component=_COMPONENT, **_surroundings())

    def _open(self) -> None:
        try:
            self._recorder.open(now=True)
        except (SealKeyError, IntegrityError):
            # A keyed trail without its key does not start, whatever the policy says of its storage.
            raise
        except HintedError as error:
            if self.policy.on_storage_failure != "contain":
                text = f"the audit trail cannot be opened: {error.message}"
                raise StorageError(text, hint=error.hint) from error
            warn(f"audit trail {self.settings.folder}: it cannot be opened, and is tried again: {error}")

    def _begin(self) -> bool:
        # Held, for who stops the trail in between would have it started again.
        with self._life:
            if self._stopped:
                raise StoppedError("the audit trail was stopped.")
            self.start_now()
            return self._ready

    def _validate(self) -> None:
        if not self.policy.enabled:
            warn(f"audit trail {self.settings.folder}: the policy is not enabled: no event is recorded.")
            return
        broken = broken_rules(self.policy)
        told = [f"Compliance: {rule.field} - {rule.text}" for rule in broken]
        if self.settings.strict and any(rule.severity == "error" for rule in broken):
            raise ConfigError("; ".join(told) + ".", hint="Correct the policy: fapilog-audit policy check FILE.")
        for text in told:
            try:
                warnings.warn(text, UserWarning, stacklevel=3)
            except Exception:  # noqa: BLE001 (warning runs the user's code: filters, hooks, log handlers)
                # Where warnings are errors, the first event starts the trail, and must not be refused for one.
                with suppress(Exception):
                    sys.stderr.write(f"UserWarning: {text}\n")

    def _check_open_segments(self) -> None:
        """Look at what was left open before it is built on."""
        if not (self.policy.enabled and self.policy.require_integrity_check) or self._backend is not None:
            return
        wrong = check_open_segments(self.settings.folder, STREAM, self.keyring())
        if wrong is None:
            return
        if self.policy.on_storage_failure != "contain":
            raise IntegrityError(f"the open segment in {self.settings.folder} was changed: {wrong}")
        if self._suspect is None:
            warn(f"audit trail {self.settings.folder}: the open segment was changed ({wrong}); recording goes on.")
        self._suspect = f"the open segment was changed: {wrong}"

    async def drain(self, timeout: float = _STOP) -> list[str]:  # noqa: ASYNC109 (what it returns is the point)
        """Store what waits; return the ids of events that are not stored when the time is over."""
        return await off_loop(lambda: self._recorder.drain(timeout))

    async def stop(self, timeout: float = _STOP) -> list[str]:  # noqa: ASYNC109 (see drain)
        """Store and attest everything, and free what is held; return the ids of events that could not be stored.

        Any loop and any thread may do it. Stopping twice does nothing; an event after it raises StoppedError.
        """
        return await off_loop(lambda: self.stop_now(timeout))

    def stop_now(self, timeout: float = _STOP) -> list[str]:
        """As `stop`, for code that is no coroutine."""
        with self._life:
            if self._stopped:
                return []
            if self._ready and self.policy.lifecycle_events:
                self.log(AuditEventType.SYSTEM_SHUTDOWN, "the audit trail is stopped", component=_COMPONENT)
            self._stopped, self._started = True, False
            self._ready = self._idle = False
            deadline = monotonic() + timeout
            left = self._recorder.stop(timeout)
            self._alerts.wait(max(0.0, deadline - monotonic()))
            if left:
                # Who leaves a block never sees what is returned here.
                warn(f"audit trail {self.settings.folder}: it was stopped, and {len(left)} events are not stored.")
            return left

    async def cleanup(self) -> None:
        """Stop."""
        await self.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def __enter__(self) -> Self:
        self.start_now()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop_now()

    # State.

    def health(self) -> Health:
        """Tell whether events are stored now; true in a condition when they are."""
        if not self.policy.enabled:
            return Health(ok=False, reason="the policy is not enabled: no event is recorded")
        state = self._recorder.health()
        suspect = self._recorder.ledger.suspect or self._suspect
        return Health(ok=False, reason=suspect) if state.ok and suspect is not None else state

    async def get_statistics(self) -> dict[str, Any]:
        """Return what was counted since the trail was made: accepted = stored + failed + pending, and by kind."""
        with self._counting:
            accepted = self._accepted
            errors, critical = self._specials[AuditLogLevel.ERROR].count, self._specials[AuditLogLevel.CRITICAL].count
            security = self._specials[AuditLogLevel.SECURITY].count
        failed, pending = self._recorder.failed, self._recorder.pending
        return {
            "accepted": accepted,
            "stored": max(0, accepted - failed - pending),
            "failed": failed,
            "pending": pending,
            "total_events": accepted,
            "error_events": errors + critical,
            "security_events": security,
            "queue_size": pending,
            "alerts_sent": self._alerts.sent,
            "alerts_failed": self._alerts.failed,
            "policy": {
                "compliance_level": str(self.policy.level),
                "enabled": self.policy.enabled,
                "retention_days": self.policy.retention_days,
                "encryption_enabled": self.policy.encrypt_audit_logs,
            },
        }

    async def _log_read(self, what: str, role: str | None, outcome: str, facts: dict[str, Any]) -> str:
        told = f"The audit trail was read: {what}"
        if role is not None:
            facts["role"] = role
        return await self.log_event(
            AuditEventType.AUDIT_LOG_ACCESS, told, component=_COMPONENT, operation=what, outcome=outcome, **facts
        )

    def __repr__(self) -> str:
        state = "stopped" if self._stopped else "started" if self._started else "not started"
        key = "unkeyed" if self.settings.key is None else "keyed"
        return f"<AuditTrail {str(self.settings.folder)!r}, {self.policy.level}, {key}, {state}>"


def _place(
    settings: TrailSettings, backend: StorageBackend | None, storage_backend: StorageBackend | None
) -> tuple[StorageBackend | None, TrailSettings]:
    """Return the backend that events are handed to, None for files, and the settings with the folder of the files."""
    if backend is not None and storage_backend is not None:
        raise ConfigError("backend and storage_backend were both given.", hint="They are one parameter; give one.")
    given = storage_backend if backend is None else backend
    if given is None:
        return None, settings
    if not isinstance(given, StorageBackend):
        raise ConfigError(
            f"backend is {given!r:.80}.", hint="Give an object with the coroutine methods write, flush and close."
        )
    if not isinstance(given, FileStorageBackend):
        return given, settings
    if settings.storage_path is not None and settings.folder != given.storage_path:
        raise ConfigError(
            f"storage_path is {settings.folder}, and the backend stores in {given.storage_path}.",
            hint="Give one of them.",
        )
    return None, given.settings_for(settings)


def _after_fork() -> None:
    for trail in list(_TRAILS):
        trail.let_go()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _surroundings() -> dict[str, Any]:
    """Return what never changes in a process, which stands in no other event."""
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "python": platform.python_version(),
        "program": Path(sys.argv[0]).name if sys.argv else "",
        "versions": {"fapilog_audit": __version__, "fapilog_tamper": tamper_version},
    }
