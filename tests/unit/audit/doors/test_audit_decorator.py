"""Each call of an audited function is an event, and the function stays what it was."""

from __future__ import annotations

import asyncio
import functools
import inspect
from contextlib import asynccontextmanager, contextmanager

import pytest

from fapilog_audit import AuditTrail, CompliancePolicy, ConfigError, audited
from fapilog_audit.instances import get_audit_trail_now, reset_all_audit_trails_now
from fapilog_audit.testing import assert_audited, recorded_events
from fapilog_tamper.errors import HintedError

KIND = "acme.user.update"


@pytest.fixture
def trail(tmp_path):
    with AuditTrail(CompliancePolicy(real_time_alerts=False), tmp_path / "log") as opened:
        yield opened


def only(trail):
    (event,) = recorded_events(trail)
    return event


def test_a_call_is_an_event(trail):
    @audited(KIND, trail=trail, fields=("user_id", "amount", "note"))
    def update(user_id, amount, password, note=None, *, size=3):
        return (user_id, amount, password, note, size)

    assert update("u-1", amount=12, password="secret") == ("u-1", 12, "secret", None, 3)
    event = only(trail)
    assert (event.event_type, event.outcome, event.log_level) == (KIND, "success", "info")
    assert (event.user_id, event.operation, event.component) == ("u-1", "update", __name__)
    assert event.message == "update: success"
    assert event.metadata.pop("duration_ms") >= 0
    assert event.metadata == {"amount": 12}
    assert b"secret" not in event.sealed_line


def test_an_error_is_recorded_and_raised_unchanged(trail):
    error = KeyError("gone")

    @audited(KIND, trail=trail)
    def update():
        raise error

    with pytest.raises(KeyError) as raised:
        update()
    assert raised.value is error
    event = only(trail)
    assert (event.outcome, event.log_level, event.error["type"]) == ("failure", "error", "KeyError")


async def test_a_coroutine_function_stays_one(trail):
    @audited(KIND, trail=trail, fields=["user_id"])
    async def update(user_id: str) -> str:
        await asyncio.sleep(0)
        if user_id == "u-2":
            raise ValueError("mine")
        return user_id

    assert inspect.iscoroutinefunction(update)
    assert await update("u-1") == "u-1"
    with pytest.raises(ValueError, match="mine"):
        await update("u-2")
    assert [(event.user_id, event.outcome) for event in recorded_events(trail)] == [
        ("u-1", "success"),
        ("u-2", "failure"),
    ]


async def test_a_call_that_is_cancelled_is_neither_success_nor_failure(trail):
    begun = asyncio.Event()

    @audited(KIND, trail=trail)
    async def wait():
        begun.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (only(trail).outcome, only(trail).error, only(trail).log_level) == ("cancelled", None, "info")


def test_a_generator_is_recorded_at_its_end(trail):
    @audited(KIND, trail=trail)
    def count():
        sent = yield 1
        yield sent
        return "result"

    running = count()
    assert inspect.isgeneratorfunction(count)
    assert (next(running), running.send(2), recorded_events(trail)) == (1, 2, [])
    with pytest.raises(StopIteration) as ended:
        next(running)
    assert ended.value.value == "result"
    assert only(trail).outcome == "success"


def test_a_generator_that_is_left_is_recorded(trail):
    @audited(KIND, trail=trail)
    def count():
        yield 1
        yield 2

    running = count()
    next(running)
    running.close()
    assert only(trail).outcome == "cancelled"


def test_a_context_manager_sees_what_is_thrown_into_it(trail):
    seen = []

    @contextmanager
    @audited(KIND, trail=trail)
    def guard():
        try:
            yield
        except ValueError as error:
            seen.append(error)
            raise

    with pytest.raises(ValueError, match="mine"), guard():
        raise ValueError("mine")
    assert len(seen) == 1
    assert only(trail).outcome == "failure"


async def test_an_asynchronous_generator_is_recorded_at_its_end(trail):
    @audited(KIND, trail=trail)
    async def count():
        sent = yield 1
        yield sent

    assert inspect.isasyncgenfunction(count)
    running = count()
    assert (await anext(running), await running.asend(5), recorded_events(trail)) == (1, 5, [])
    assert [value async for value in running] == []
    assert only(trail).outcome == "success"


async def test_an_asynchronous_generator_that_is_left_cleans_up_first(trail):
    seen = []

    @audited(KIND, trail=trail)
    async def count():
        try:
            yield 1
        finally:
            seen.append(len(recorded_events(trail)))

    running = count()
    await anext(running)
    await running.aclose()
    assert seen == [0]
    assert only(trail).outcome == "cancelled"


@pytest.mark.parametrize("swallows", [True, False])
async def test_an_asynchronous_context_manager_sees_what_is_thrown_into_it(trail, swallows):
    @asynccontextmanager
    @audited(KIND, trail=trail)
    async def guard():
        try:
            yield "value"
        except ValueError:
            if not swallows:
                raise

    async def use():
        async with guard() as value:
            assert value == "value"
            raise ValueError("mine")

    if swallows:
        await use()
    else:
        with pytest.raises(ValueError, match="mine"):
            await use()
    assert only(trail).outcome == ("success" if swallows else "failure")


@pytest.mark.parametrize(
    ("on", "outcomes"), [("both", ["success", "failure"]), ("success", ["success"]), ("failure", ["failure"])]
)
async def test_what_is_recorded_can_be_chosen(trail, on, outcomes):
    @audited(KIND, trail=trail, on=on)
    def update(*, fails):
        if fails:
            raise ValueError("mine")

    @audited(KIND, trail=trail, on=on)
    async def update_async(*, fails):
        update.__wrapped__(fails=fails)

    update(fails=False)
    with pytest.raises(ValueError, match="mine"):
        update(fails=True)
    await update_async(fails=False)
    with pytest.raises(ValueError, match="mine"):
        await update_async(fails=True)
    assert [event.outcome for event in recorded_events(trail)] == outcomes * 2


def test_operation_component_and_level_can_be_named(trail):
    @audited(KIND, trail=trail, operation="update", component="users", log_level="SECURITY")
    def change():
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        change()
    event = only(trail)
    assert (event.operation, event.component, event.log_level) == ("update", "users", "security")


def test_a_method_is_called_by_its_class(trail):
    class Users:
        @audited(KIND, trail=trail, fields=("user_id",))
        def update(self, user_id):
            return self

        @classmethod
        @audited(KIND, trail=trail)
        def make(cls):
            return cls

    users = Users()
    assert users.update("u-1") is users
    assert Users.make() is Users
    assert [event.operation for event in recorded_events(trail)] == ["Users.update", "Users.make"]


def test_defaults_and_keywords_are_arguments_too(trail):
    @audited(KIND, trail=trail, fields=("tenant_id", "message", "reason"))
    def update(tenant_id="t-1", message="m", **more):
        return more

    update(reason="asked", other=1)
    assert only(trail).tenant_id == "t-1"
    assert {"message_": "m", "reason": "asked"}.items() <= only(trail).metadata.items()


def test_the_function_itself_refuses_arguments_that_it_does_not_take(trail):
    @audited(KIND, trail=trail, fields=("user_id",))
    def update(user_id): ...

    with pytest.raises(TypeError, match="missing"):
        update()
    assert (only(trail).outcome, only(trail).error["type"]) == ("failure", "TypeError")


def test_the_function_keeps_its_face(trail):
    @audited(KIND, trail=trail)
    def update(user_id: str, *, size: int = 3) -> bool:
        """Update."""

    assert (update.__name__, update.__doc__) == ("update", "Update.")
    assert str(inspect.signature(update)) == "(user_id: 'str', *, size: 'int' = 3) -> 'bool'"


def test_a_partial_function_can_be_audited(trail):
    assert audited(KIND, trail=trail)(functools.partial(max, 3))(5) == 5
    assert only(trail).operation == "partial"


async def test_the_default_trail_is_looked_up_with_each_call(tmp_path, monkeypatch):
    monkeypatch.setenv("FAPILOG_AUDIT_TEST_FOLDER", str(tmp_path))

    @audited(KIND)
    def update(): ...

    @audited(KIND, name="users")
    async def update_users(): ...

    try:
        update()
        reset_all_audit_trails_now()
        update()
        await update_users()
        assert_audited(get_audit_trail_now(), KIND, count=2)
        assert_audited(get_audit_trail_now("users"), KIND, count=1)
    finally:
        reset_all_audit_trails_now()


async def test_an_event_that_cannot_be_stored_is_an_error_where_the_policy_says_so(tmp_path):
    (tmp_path / "file").write_text("no folder")
    trail = AuditTrail(CompliancePolicy(on_storage_failure="raise"), tmp_path / "file" / "log")

    @audited(KIND, trail=trail)
    def update(error=None):
        if error is not None:
            raise error

    @audited(KIND, trail=trail)
    async def update_async():
        raise ValueError("mine")

    with pytest.raises(HintedError):
        update()
    with pytest.warns(RuntimeWarning, match="is not recorded"), pytest.raises(ValueError, match="mine"):
        update(ValueError("mine"))
    with pytest.warns(RuntimeWarning, match="is not recorded"), pytest.raises(ValueError, match="mine"):
        await update_async()


def test_a_trail_that_was_stopped_breaks_no_call_but_it_is_told(trail):
    @audited(KIND, trail=trail)
    def update():
        return "done"

    trail.stop_now()
    with pytest.warns(RuntimeWarning, match="is not recorded: .*stopped"):
        assert update() == "done"


@pytest.mark.parametrize(
    ("event_type", "settings", "message"),
    [
        ("nonsense", {}, "event_type is"),
        (KIND, {"on": "never"}, "on is"),
        (KIND, {"fields": "user_id"}, "fields is"),
        (KIND, {"fields": ["nobody"]}, "no argument 'nobody'"),
        (KIND, {"log_level": "loud"}, "log_level is"),
    ],
)
def test_what_cannot_work_is_refused_when_decorating(event_type, settings, message):
    with pytest.raises(ConfigError, match=message):
        audited(event_type, **settings)(lambda user_id: user_id)


@pytest.mark.parametrize("thing", [int, staticmethod(len), classmethod(len), 17])
def test_only_functions_can_be_audited(thing):
    with pytest.raises(ConfigError, match="cannot be audited"):
        audited(KIND)(thing)
