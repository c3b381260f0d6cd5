"""`@audited`: each call of a function is an audit event.

@audited("acme.user.update", fields=("user_id",))
async def update_user(user_id: str, password: str) -> None: ...
"""

from __future__ import annotations

import asyncio
import inspect
from functools import wraps
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, Literal, ParamSpec, TypeVar, cast, get_args

from fapilog_audit.causes import error_level
from fapilog_audit.doors import Door, placed, record
from fapilog_audit.errors import ConfigError
from fapilog_audit.kinds import AuditEventType, AuditLogLevel, parse_event_type, parse_log_level
from fapilog_tamper.errors import HintedError
from fapilog_tamper.writer.troubles import warn

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Mapping

    from fapilog_audit.trail import AuditTrail

__all__ = ["audited"]

_P = ParamSpec("_P")
_R = TypeVar("_R")
On = Literal["both", "success", "failure"]

_LEFT: Final = (asyncio.CancelledError, GeneratorExit)
"""How a call ends that neither returns nor fails."""


def audited(
    event_type: AuditEventType | str,
    *,
    trail: AuditTrail | None = None,
    name: str | None = None,
    fields: Iterable[str] = (),
    operation: str | None = None,
    component: str | None = None,
    log_level: AuditLogLevel | str | None = None,
    on: On = "both",
) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Record each call of a function when it ends: outcome, duration, the arguments that are named, and its error.

    Functions, coroutine functions, generators and asynchronous generators; the latter two are recorded when their
    iteration ends. The function's result and error are what they are without the decorator, but for
    `on_storage_failure="raise"`: then an event that cannot be stored is a StorageError of a call that has succeeded.
    A call that is cancelled, or an iteration that is left, has the outcome `cancelled`. In a function that is no
    coroutine, recording may wait for the disk.

    Args:
        event_type: the type of the events.
        trail: where events go.
        name: which of the named trails, in place of `trail`; without both, the default one, looked up with each call.
        fields: the arguments that are recorded, by name: `user_id` and other fields of an event in their place, others
            in the metadata, as they are when the call ends. No other argument is, and no result.
        operation: what is being done; the qualified name of the function unless given.
        component: the part of the application; the module of the function unless given.
        log_level: of the events; `info` unless given, and for errors what the error says of itself, else `error`.
        on: which calls are recorded.

    Raises:
        ConfigError: something that cannot work, an argument that the function does not have, say.
    """
    kind = parse_event_type(event_type)
    level = None if log_level is None else parse_log_level(log_level)
    if on not in get_args(On):
        raise ConfigError(f"on is {on!r:.80}.", hint="Use one of both, success, failure.")
    if isinstance(fields, str):
        raise ConfigError(f"fields is {fields!r:.80}.", hint="Give a list of names.")
    door, names = Door(trail, name), tuple(fields)

    def decorate(function: Callable[_P, _R]) -> Callable[_P, _R]:
        plan = _Plan(function, names, (kind, level, on), door=door, operation=operation, component=component)
        return cast("Callable[_P, _R]", plan.wrapped())

    return decorate


class _Plan:
    """What is recorded of the calls of one function."""

    def __init__(
        self,
        function: Callable[..., Any],
        names: tuple[str, ...],
        what: tuple[str, AuditLogLevel | None, On],
        *,
        door: Door,
        operation: str | None,
        component: str | None,
    ) -> None:
        if not callable(function) or isinstance(function, type | staticmethod | classmethod):
            raise ConfigError(
                f"{function!r:.80} cannot be audited.",
                hint="Put @audited right above the function, below @classmethod.",
            )
        self.function, self.names, self.door = function, names, door
        self.event_type, self.level, self.on = what
        # Some functions in C have no signature.
        self.signature = inspect.signature(function) if names else inspect.Signature()
        parameters = self.signature.parameters
        # With **kwargs, any name may come.
        open_ended = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
        unknown = [name for name in names if name not in parameters and not open_ended]
        if unknown:
            raise ConfigError(
                f"{function!r:.80} has no argument {unknown[0]!r:.80}.",
                hint=f"Use of {', '.join(parameters) or 'none'}.",
            )
        qualified = getattr(function, "__qualname__", type(function).__qualname__)
        self.operation = operation or qualified.rpartition("<locals>.")[2]
        self.component = component or getattr(function, "__module__", None)

    def wrapped(self) -> Callable[..., Any]:
        """Return the function, audited."""
        if inspect.iscoroutinefunction(self.function):
            return _coroutine(self)
        if inspect.isasyncgenfunction(self.function):
            return _async_generator(self)
        return _generator(self) if inspect.isgeneratorfunction(self.function) else _plain(self)


class _Run:
    """One call."""

    def __init__(self, plan: _Plan, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._plan = plan
        self._given = _given(plan, args, kwargs)
        self._began = perf_counter()

    def _event(self, error: BaseException | None) -> dict[str, Any] | None:
        """Return the event, None where none is wanted."""
        plan = self._plan
        if plan.on not in ("both", "success" if error is None else "failure"):
            return None
        event: dict[str, Any] = {
            **self._given,
            "operation": plan.operation,
            "component": plan.component,
            "outcome": "success" if error is None else "cancelled" if isinstance(error, _LEFT) else "failure",
            "duration_ms": round((perf_counter() - self._began) * 1000, 3),
            "log_level": plan.level or AuditLogLevel.INFO,
        }
        if error is not None and not isinstance(error, _LEFT):
            event["error"] = error
            event["log_level"] = plan.level or error_level(error)
        return event

    def over(self, error: BaseException | None = None) -> None:
        """Record it."""
        event = self._event(error)
        if event is None:
            return
        try:
            self._plan.door.open_now().log(self._plan.event_type, self._told(event), **event)
        except HintedError as refused:
            self._refuse(error, refused)

    async def over_async(self, error: BaseException | None = None) -> None:
        """As `over`, for coroutines."""
        event = self._event(error)
        if event is None:
            return
        try:
            await record(await self._plan.door.open(), self._plan.event_type, self._told(event), event)
        except HintedError as refused:
            self._refuse(error, refused)

    def _told(self, event: Mapping[str, Any]) -> str:
        return f"{self._plan.operation}: {event['outcome']}"

    def _refuse(self, error: BaseException | None, refused: HintedError) -> None:
        # An error of the function's own is the one that the caller must see.
        if error is None and self._plan.door.must_raise(refused):
            raise refused
        warn(f"a call of {self._plan.operation} is not recorded: {refused}")


def _given(plan: _Plan, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    if not plan.names:
        return {}
    try:
        bound = plan.signature.bind(*args, **kwargs)
    except TypeError:
        # The function will say so.
        return {}
    bound.apply_defaults()
    more: Mapping[str, Any] = {}
    for each in plan.signature.parameters.values():
        if each.kind is each.VAR_KEYWORD:
            more = bound.arguments[each.name]
    values = {**more, **bound.arguments}
    return placed({name: values.get(name) for name in plan.names})


def _plain(plan: _Plan) -> Callable[..., Any]:
    @wraps(plan.function)
    def call(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 (those of the function)
        run = _Run(plan, args, kwargs)
        try:
            result = plan.function(*args, **kwargs)
        except BaseException as error:
            run.over(error)
            raise
        run.over()
        return result

    return call


def _coroutine(plan: _Plan) -> Callable[..., Any]:
    @wraps(plan.function)
    async def call(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 (those of the function)
        run = _Run(plan, args, kwargs)
        try:
            result = await plan.function(*args, **kwargs)
        except BaseException as error:
            await run.over_async(error)
            raise
        await run.over_async()
        return result

    return call


def _generator(plan: _Plan) -> Callable[..., Any]:
    @wraps(plan.function)
    def call(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:  # noqa: ANN401 (those of the function)
        run = _Run(plan, args, kwargs)
        try:
            result = yield from plan.function(*args, **kwargs)
        except BaseException as error:
            run.over(error)
            raise
        run.over()
        return result

    return call


def _async_generator(plan: _Plan) -> Callable[..., Any]:
    @wraps(plan.function)
    async def call(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:  # noqa: ANN401 (those of the function)
        run = _Run(plan, args, kwargs)
        try:
            inner = plan.function(*args, **kwargs)
            step = anext(inner)
            while True:
                try:
                    value = await step
                except StopAsyncIteration:
                    break
                # There is no `yield from` here: what is sent and thrown in is handed on by hand.
                try:
                    sent = yield value
                except GeneratorExit:
                    await inner.aclose()
                    raise
                except BaseException as error:  # noqa: BLE001 (whatever it is, it belongs to the generator)
                    step = inner.athrow(error)
                else:
                    step = inner.asend(sent)
        except BaseException as error:
            await run.over_async(error)
            raise
        await run.over_async()

    return call
