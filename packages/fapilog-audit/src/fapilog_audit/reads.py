"""The reading half of an audit trail: queries, following, verification, and what the policy says about readers.

Nothing here needs a started trail; nothing takes a lock. What may wait for a disk is done in a thread.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar

from fapilog_audit.backends.base import ReadableBackend
from fapilog_audit.checking import AuditChainVerificationResult, check_chain, check_event, check_folder
from fapilog_audit.errors import AccessError, AuditError, ConfigError
from fapilog_audit.ledger import off_loop
from fapilog_audit.reading import EventPage, Follower, Query, count_events, find_event, read_events
from fapilog_audit.reading.matching import Matcher
from fapilog_audit.retention import retention_plan
from fapilog_audit.stocktaking import Stocktaking
from fapilog_tamper.keys import Keyring

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence
    from datetime import datetime
    from pathlib import Path

    from fapilog_audit.backends.base import StorageBackend
    from fapilog_audit.event import AuditEvent
    from fapilog_audit.kinds import AuditEventType, AuditLogLevel
    from fapilog_audit.outbox import Outbox
    from fapilog_audit.policy import CompliancePolicy
    from fapilog_audit.retention import RetentionItem

__all__ = ["TrailReader"]

_Events_contra = TypeVar("_Events_contra", contravariant=True)
_Answer_co = TypeVar("_Answer_co", covariant=True)

_POLL: Final = 0.25
_PAGE: Final = 1000


class _Check(Protocol[_Events_contra, _Answer_co]):
    def __call__(self, events: _Events_contra, *, key: object = None, keyring: Keyring | None = None) -> _Answer_co: ...


class _WithKeys(Generic[_Events_contra, _Answer_co]):
    """A static method that knows the keys of the trail when it is called on one."""

    def __init__(self, check: Callable[[_Events_contra, Keyring | None], _Answer_co]) -> None:
        self._check = check
        self.__doc__ = check.__doc__

    def __get__(self, trail: TrailReader | None, owner: type) -> _Check[_Events_contra, _Answer_co]:
        def call(events: _Events_contra, *, key: object = None, keyring: Keyring | None = None) -> _Answer_co:
            if keyring is None:
                keyring = trail.keyring() if key is None and trail is not None else _ring(key)
            return self._check(events, keyring)

        call.__doc__ = self.__doc__
        return call


class TrailReader:
    """What an `AuditTrail` can be asked."""

    def __init__(
        self,
        folder: Path,
        policy: CompliancePolicy,
        backend: StorageBackend | None,
        keyring: Callable[[], Keyring | None],
        outbox: Outbox,
    ) -> None:
        self._folder = folder
        self._outbox = outbox
        self._policy = policy
        self._backend = backend
        self.keyring = keyring
        """Returns the keys that this trail seals and has sealed with; None without any."""

    # Queries.

    async def get_events(  # noqa: PLR0913, PLR0917 (filters, each with a name; the order is that of earlier versions)
        self,
        start_time: datetime | str | None = None,
        end_time: datetime | str | None = None,
        event_type: AuditEventType | str | Iterable[str] | None = None,
        log_level: AuditLogLevel | str | Iterable[str] | None = None,
        user_id: str | None = None,
        component: str | None = None,
        request_id: str | None = None,
        tenant_id: str | None = None,
        text: str | None = None,
        limit: int | None = 100,
        newest_first: bool = True,  # noqa: FBT001, FBT002 (see above)
        cursor: str | None = None,
        *,
        include_control: bool = False,
        role: str | None = None,
    ) -> EventPage:
        """Return the newest events that match, newest first; `Query` explains the filters.

        The page has a `cursor`: given back with the same filters, it brings the next page; None when nothing is left.

        Args:
            start_time: see `Query`, as are the others.
            end_time: the last moment that counts.
            event_type: one or several.
            log_level: one or several.
            user_id: exactly.
            component: exactly.
            request_id: exactly.
            tenant_id: exactly.
            text: somewhere in the event, in capitals or not.
            limit: of the page; None for all.
            newest_first: False: the oldest, oldest first.
            cursor: of the page before.
            include_control: the entries of the log itself are events, too.
            role: who reads; must be one of the policy's `audit_access_roles`, and the read is audited.

        Raises:
            AccessError: the policy does not let this role read.
            ConfigError: a filter that cannot be meant.
        """
        query = Query(
            start_time=start_time,
            end_time=end_time,
            event_type=event_type,
            log_level=log_level,
            user_id=user_id,
            component=component,
            request_id=request_id,
            tenant_id=tenant_id,
            text=text,
            limit=limit,
            newest_first=newest_first,
            cursor=cursor,
            include_control=include_control,
        )
        await self._check_role(role, "get_events")
        page = await self._read(query)
        await self._audit_read("get_events", role, query, len(page))
        return page

    async def get_event(self, event_id: str, *, role: str | None = None) -> AuditEvent | None:
        """Return one event by its id, None where there is none."""
        await self._check_role(role, "get_event")
        if self._backend is None:
            found = await off_loop(lambda: find_event(self._folder, event_id))
        else:
            page = await self._read(Query(text=event_id, limit=None))
            found = next((event for event in page if event.event_id == event_id), None)
        await self._audit_read("get_event", role, None, int(found is not None), wanted=event_id)
        return found

    async def count(self, *, role: str | None = None, **filters: Any) -> int:  # noqa: ANN401 (those of Query)
        """Return how many events match the filters, which are those of `get_events`."""
        query = _query({**filters, "limit": None})
        await self._check_role(role, "count")
        if self._backend is None:
            found = await off_loop(lambda: count_events(self._folder, query))
        else:
            found = len(await self._read(query))
        await self._audit_read("count", role, query, found)
        return found

    async def tail(
        self,
        *,
        from_start: bool = False,
        role: str | None = None,
        include_control: bool = False,
        **filters: Any,  # noqa: ANN401 (see count)
    ) -> AsyncIterator[AuditEvent]:
        """Yield the events that match as they are stored, from now on; for ever, so end it with `break` or a timeout.

        Args:
            from_start: begin with all that is there.
            role: see `get_events`.
            include_control: see `get_events`.
            filters: those of `get_events`.
        """
        query = _query({**filters, "limit": None, "include_control": include_control})
        await self._check_role(role, "tail")
        self._require_files("followed")
        own = await self._audit_read("tail", role, query, 0)
        follower = await off_loop(
            lambda: Follower(self._folder, from_end=not from_start, include_control=include_control)
        )
        matcher = Matcher(query)
        while True:
            events = await off_loop(follower.poll)
            for event in events:
                if event.event_id != own and matcher.wants_event(event):
                    yield event
            if not events:
                await asyncio.sleep(_POLL)

    async def get_subject_events(self, user_id: str, *, role: str | None = None) -> EventPage:
        """Return every event of one person, oldest first: what the right of access asks for (GDPR, article 15).

        Raises:
            AccessError: the policy has no `gdpr_data_subject_rights`, or does not let this role read.
        """
        if not self._policy.gdpr_data_subject_rights:
            raise AccessError(
                "the policy has no data subject rights.", hint="Set gdpr_data_subject_rights=True in the policy."
            )
        await self._check_role(role, "get_subject_events")
        query = Query(user_id=user_id, limit=None, newest_first=False)
        page = await self._read(query)
        await self._audit_read("get_subject_events", role, query, len(page))
        return page

    def retention_plan(self) -> list[RetentionItem]:
        """Return what is due for the archive or for deletion under the policy, and why; nothing is moved or deleted."""
        return retention_plan(self._folder, self._policy)

    async def _read(self, query: Query) -> EventPage:
        if self._backend is None:
            return await off_loop(lambda: read_events(self._folder, query))
        if not isinstance(self._backend, ReadableBackend):
            raise AuditError(
                f"the backend {type(self._backend).__name__} cannot be read: it has no read(query).",
                hint="Read where it stores, or give it that method.",
            )
        found = await self._backend.read(query)
        page = EventPage(found)
        page.cursor = getattr(found, "cursor", None)
        return page

    def _require_files(self, what: str) -> None:
        if self._backend is not None:
            raise AuditError(f"only a trail in files can be {what}.", hint="Use get_events with its cursor.")

    # Who reads.

    async def _check_role(self, role: str | None, what: str) -> None:
        policy = self._policy
        if role is None:
            if policy.hipaa_minimum_necessary:
                await self._audit_read(what, None, None, 0, outcome="denied")
                raise AccessError(f"{what} names no role, and hipaa_minimum_necessary is on.")
            return
        if role not in policy.audit_access_roles:
            await self._audit_read(what, role, None, 0, outcome="denied")
            allowed = ", ".join(policy.audit_access_roles) or "none"
            raise AccessError(f"the role {role!r:.80} may not read the audit trail; those that may: {allowed}.")

    async def _audit_read(  # noqa: PLR0917 (said at each call)
        self, what: str, role: str | None, query: Query | None, found: int, outcome: str = "success", wanted: str = ""
    ) -> str | None:
        """Write that somebody has read, behind the read: it is never in its own result. Return the event's id."""
        if role is None and not self._policy.audit_reads:
            return None
        asked = {} if query is None else _asked(query)
        if wanted:
            asked["event_id"] = wanted
        return await self._log_read(what, role, outcome, {"query": asked, "found": found})

    async def _log_read(self, what: str, role: str | None, outcome: str, facts: dict[str, Any]) -> str:
        raise NotImplementedError

    # Verification.

    verify_event = _WithKeys(check_event)
    """`verify_event(event, *, key=None, keyring=None) -> bool`: whether one event is what was sealed.

    Static: on a trail it knows the trail's keys, on the class it must be given them. True only where the event's own
    mac holds, or where it is unkeyed and no key was given.
    """

    verify_chain = _WithKeys(check_chain)
    """`verify_chain(events, *, key=None, keyring=None) -> AuditChainVerificationResult`: whether events are a chain.

    Static, as `verify_event`. Takes what `get_events` returns without filters, in either order. Of a filtered list the
    chain cannot be shown: it says so, and is not valid.
    """

    async def verify_chain_from_storage(self) -> AuditChainVerificationResult:
        """Verify everything that is stored. Takes no lock and writes nothing; the trail need not be started."""
        if self._backend is None:
            return await off_loop(lambda: check_folder(self._folder, self.keyring()))
        with Stocktaking(self._outbox) as taking:
            async for page in self._pages():
                await off_loop(partial(taking.add, page))
            return await off_loop(lambda: taking.result(self.keyring()))

    async def _pages(self) -> AsyncIterator[EventPage]:
        """Yield all that a backend holds, oldest first."""
        query = Query(newest_first=False, limit=_PAGE, include_control=True)
        page = await self._read(query)
        if page.cursor is None and len(page) >= _PAGE:
            # A backend that knows no cursors, and may have more.
            page = await self._read(replace(query, limit=None))
        yield page
        while page.cursor is not None and page.cursor != query.cursor:
            query = replace(query, cursor=page.cursor)
            page = await self._read(query)
            yield page


def _ring(key: object) -> Keyring | None:
    if key is None:
        return None
    keys: Sequence[Any] = [*key] if isinstance(key, list | tuple | set | frozenset) else [key]
    return Keyring(keys)


def _asked(query: Query) -> dict[str, Any]:
    """Return what was asked for, for the record of the read."""
    given = {name: value for name, value in asdict(query).items() if value is not None}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()}


def _query(filters: dict[str, Any]) -> Query:
    try:
        return Query(**filters)
    except TypeError as error:
        raise ConfigError(f"filter: {error}.", hint="Use the filters of get_events.") from None
