"""What an event takes from where it happens: audit_context, fapilog's context variables, the current span."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from contextvars import copy_context

import pytest
from fapilog.core import errors as host
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags
from unit.audit.events.recording import TYPE, record

from fapilog_audit import AuditTrail, audit_context
from fapilog_audit.context import current_context

FIELDS = (
    "actor",
    "user_id",
    "session_id",
    "request_id",
    "tenant_id",
    "client_ip",
    "user_agent",
    "trace_id",
    "span_id",
    "component",
)
TRACE, SPAN = 0x0AF7651916CD43DD8448EB211C80319C, 0x00F067AA0BA902B7


@pytest.mark.parametrize("name", FIELDS)
def test_an_event_carries_what_its_context_says(name, tmp_path):
    with audit_context(**{name: "from here"}):
        assert record(tmp_path)[name] == "from here"


@pytest.mark.parametrize("name", [name for name in FIELDS if name not in ("trace_id", "span_id")])
def test_what_the_caller_says_wins(name, tmp_path):
    with audit_context(**{name: "from here"}):
        assert record(tmp_path, **{name: "said"})[name] == "said"


def test_contexts_nest_and_end():
    with audit_context(user_id="u-1", tenant_id="t-1"):
        with audit_context(user_id="u-2", actor="job"):
            assert current_context() == {"user_id": "u-2", "tenant_id": "t-1", "actor": "job"}
        assert current_context() == {"user_id": "u-1", "tenant_id": "t-1"}
    assert current_context() == {}


def test_a_context_ends_with_an_exception():
    with pytest.raises(ValueError, match="out"), audit_context(user_id="u-1"):
        raise ValueError("out")
    assert current_context() == {}


def test_what_a_context_does_not_name_or_leaves_empty_stays():
    with audit_context(user_id="u-1"), audit_context(user_id=None, actor=""):
        assert current_context() == {"user_id": "u-1"}


def test_a_field_that_no_event_has_is_refused():
    with pytest.raises(TypeError, match="metadata"), audit_context(metadata="x"):
        pass


async def test_tasks_have_contexts_of_their_own(tmp_path):
    async def act(number: int) -> None:
        with audit_context(user_id=f"u-{number}"):
            await asyncio.sleep(0)
            await trail.log_event(TYPE, str(number))

    async with AuditTrail(storage_path=tmp_path) as trail:
        with audit_context(tenant_id="t"):
            await asyncio.gather(*(act(number) for number in range(50)))
        events = await trail.get_events()
    assert {(one.message, one.user_id, one.tenant_id) for one in events} == {(str(n), f"u-{n}", "t") for n in range(50)}


async def test_a_thread_of_to_thread_has_the_context_of_its_task(tmp_path):
    with AuditTrail(storage_path=tmp_path) as trail:
        with audit_context(user_id="u-1"):
            await asyncio.to_thread(trail.log, TYPE, "m")
        assert (await trail.get_events())[0].user_id == "u-1"


def test_a_thread_that_is_started_plainly_has_none():
    found: list[dict] = []
    with audit_context(user_id="u-1"):
        thread = threading.Thread(target=lambda: found.append(current_context()))
        thread.start()
        thread.join()
    assert found == [{}]


@pytest.mark.parametrize("name", ["request_id", "user_id", "session_id", "tenant_id", "trace_id", "span_id"])
def test_an_event_carries_what_fapilog_knows(name, tmp_path):
    def act() -> dict:
        getattr(host, f"{name}_var").set("of fapilog")
        found = record(tmp_path / "a")
        with audit_context(**{name: "ours"}):
            return {"plain": found[name], "ours": record(tmp_path / "b")[name]}

    assert copy_context().run(act) == {"plain": "of fapilog", "ours": "ours"}


@pytest.fixture
def in_span():
    span = NonRecordingSpan(SpanContext(TRACE, SPAN, is_remote=False, trace_flags=TraceFlags(1)))
    with trace.use_span(span):
        yield


@pytest.mark.usefixtures("in_span")
def test_an_event_carries_the_current_span(tmp_path):
    found = record(tmp_path)
    assert found["trace_id"] == "0af7651916cd43dd8448eb211c80319c"
    assert found["span_id"] == "00f067aa0ba902b7"


@pytest.mark.usefixtures("in_span")
def test_fapilog_and_audit_context_stand_before_the_span():
    def act() -> dict:
        host.trace_id_var.set("of fapilog")
        with audit_context(span_id="ours"):
            return current_context()

    assert copy_context().run(act) == {"trace_id": "of fapilog", "span_id": "ours"}


@pytest.mark.parametrize("place", [(0, SPAN), (TRACE, 0)])
def test_a_span_that_is_not_valid_says_nothing(place):
    with trace.use_span(NonRecordingSpan(SpanContext(*place, is_remote=False))):
        assert current_context() == {}


def test_without_a_span_there_is_no_trace(tmp_path):
    assert not {"trace_id", "span_id"} & record(tmp_path).keys()


def test_opentelemetry_that_is_being_imported_does_no_harm(monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", type(sys)("opentelemetry.trace"))
    assert current_context() == {}


WITHOUT = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "opentelemetry":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Blocker())
from fapilog_audit import AuditTrail
with AuditTrail(storage_path=sys.argv[1]) as trail:
    trail.log("acme.test.happened", "m")
assert "opentelemetry" not in sys.modules
"""


def test_a_trail_works_without_opentelemetry(tmp_path):
    subprocess.run([sys.executable, "-W", "error", "-c", WITHOUT, tmp_path], check=True)
    assert len(list(tmp_path.glob("*.jsonl"))) == 1
