"""Which events a query wants: the same ones that a reader without short cuts finds."""

from __future__ import annotations

import json
import tempfile
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from unit.audit.reading.trails import (
    SMALL,
    all_pages,
    breaks,
    canonical,
    event,
    moment,
    numbers,
    stored_lines,
    write,
    write_side_by_side,
)

from fapilog_audit.event import AuditEvent
from fapilog_audit.reading import Query, count_events, iter_events, read_events
from fapilog_tamper.payload import check_payload


def found(folder, **asked):
    query = Query(limit=None, newest_first=False, **asked)
    events = numbers(read_events(folder, query))
    assert count_events(folder, query) == len(events)
    return events


@pytest.mark.parametrize("name", ["user_id", "component", "request_id", "tenant_id"])
@pytest.mark.parametrize("value", ["u-1", "é漢😀", 'quo"te', "back\\slash", "a/b", "tab\t", "\x7f", "%", "u"])
def test_an_exact_value_is_found_however_it_is_spelled(tmp_path, name, value):
    members = event(0) | {name: value}
    loose = json.dumps(members | {"metadata": {"n": 1}}, separators=(", ", ": ")).encode()
    slashed = json.dumps(members | {"metadata": {"n": 2}}, ensure_ascii=False).replace("/", "\\/").encode()
    raw = canonical(members | {"metadata": {"n": 3}, name: "@"}).replace(b'"@"', b'"' + escape16(value) + b'"')
    for payload in (loose, slashed, raw):
        check_payload(payload)
    others = [event(9, **{name: value + "x", "message": value}), event(9), event(9, metadata={name: value, "n": 9})]
    write(tmp_path, [members, loose, slashed, raw, *others])
    assert found(tmp_path, **{name: value}) == [0, 1, 2, 3]


def escape16(text):
    data = text.encode("utf-16-be")
    return "".join(f"\\u{data[at] << 8 | data[at + 1]:04X}" for at in range(0, len(data), 2)).encode()


def test_types_and_levels_are_found_however_they_are_spelled(tmp_path):
    loud = json.dumps(event(1, log_level="ERROR", event_type="acme.pay.ok")).encode()
    hidden = canonical(event(2, log_level="@")).replace(b'"@"', b'"' + escape16("Error") + b'"')
    unsaid = event(3)
    del unsaid["log_level"]
    write(tmp_path, [event(0, log_level="error"), loud, hidden, unsaid, event(4, message="error")])
    assert found(tmp_path, log_level="error") == [0, 1, 2]
    assert found(tmp_path, log_level="info") == [3, 4]
    assert found(tmp_path, log_level=["info", "error"]) == [0, 1, 2, 3, 4]
    assert found(tmp_path, log_level="security") == []
    assert found(tmp_path, event_type="acme.pay.ok") == [1]
    assert found(tmp_path, event_type=["acme.pay.ok", "data_access"], log_level="error") == [0, 1, 2]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("PAYROLL", [0]),
        ("payroll", [0]),
        ("nested value", [1]),
        ("DeepName", [1]),
        ("4711", [2]),
        ("é", [3]),
        ("É", [3]),
        ('say "hi"', [4]),
        ("c:\\users", [4]),
        ("kelvin", [5]),
        ("sha-256", []),
        ("prev_chain_hash", []),
        ("integrity", [6]),
        ("true", []),
        ("event 3", [3]),
    ],
)
def test_text_is_found_in_values_and_names_and_not_in_the_integrity_block(tmp_path, text, wanted):
    write(
        tmp_path,
        [
            event(0, message="Read the Payroll"),
            event(1, metadata={"n": 1, "list": [{"deepname": "a Nested Value"}]}),
            event(2, metadata={"n": 2, "order": 4711, "flag": True}),
            event(3, component="CAFÉ"),
            event(4, message='Say "hi" to C:\\Users'),
            event(5, message="\u212aelvin"),
            event(6, message="the Integrity of it"),
        ],
    )
    assert found(tmp_path, text=text) == wanted


def test_a_text_that_only_the_block_holds_is_not_found(tmp_path):
    write(tmp_path, map(event, range(5)))
    checksum = read_events(tmp_path, Query())[0].checksum
    assert found(tmp_path, text=checksum[:12]) == []


def test_text_is_found_beside_all_else_that_is_asked_for(tmp_path):
    write(tmp_path, [event(0, message="\u212aelvin", user_id="u"), event(1, message="KELVIN", user_id="u"), event(2)])
    assert found(tmp_path, text="kelvin", user_id="u") == [0, 1]
    assert found(tmp_path, text="KELVIN", user_id="u", log_level="info", event_type="data_access") == [0, 1]
    assert found(tmp_path, text="kelvin", user_id="v") == []


def test_a_broken_line_that_speaks_of_the_log_itself_is_no_control_entry(tmp_path):
    write(tmp_path, map(event, range(3)))
    path = next(tmp_path.glob("*.jsonl"))
    lines = path.read_bytes().splitlines(keepends=True)
    broken = [b'{"sealed_log" broken\n', b'{"sealed_log":{"kind":"key"}}\n']
    path.write_bytes(b"".join([lines[0], *broken, *lines[1:]]))
    assert found(tmp_path) == [0, 1, 2]
    assert found(tmp_path, user_id="u") == []
    query = Query(include_control=True, event_type="sealed_log.key")
    assert read_events(tmp_path, query) == []


def test_numbers_are_found_as_they_are_written(tmp_path):
    write(tmp_path, [canonical(event(1)).replace(b'"n":1', b'"n":1,"m":1.50E3')])
    assert found(tmp_path, text="1.50e3") == [1]
    assert found(tmp_path, text="1500") == []


def test_a_number_that_is_too_long_for_the_fast_parser_does_not_hide_an_event(tmp_path):
    write(tmp_path, [canonical(event(1)).replace(b'"n":1', b'"n":1,"m":' + b"7" * 5000), event(2, user_id="u")])
    assert found(tmp_path, user_id="u") == [2]
    assert count_events(tmp_path, Query(event_type="data_access")) == 2


# --- the same as a reader without short cuts -------------------------------------------------------------------------

USERS = ["u-1", "u-2", "é", 'q"q', "a/b", "Ü\\n"]
TYPES = ["data_access", "data_export", "acme.pay.ok"]
LEVELS = ["info", "error", "security"]

made_event = st.fixed_dictionaries(
    {
        "seconds": st.integers(0, 12),
        "user_id": st.sampled_from([*USERS, None]),
        "event_type": st.sampled_from(TYPES),
        "log_level": st.sampled_from(LEVELS),
        "message": st.sampled_from(["Read it", "written: é", 'quote " and \\', "u-1"]),
        "style": st.sampled_from(["ours", "loose", "escaped"]),
    }
)
made_query = st.fixed_dictionaries(
    {},
    optional={
        "user_id": st.sampled_from(USERS),
        "event_type": st.one_of(st.sampled_from(TYPES), st.lists(st.sampled_from(TYPES), min_size=1)),
        "log_level": st.sampled_from(LEVELS),
        "text": st.sampled_from(["READ", "é", "É", '"', "u-1", "quote"]),
        "start_time": st.integers(0, 6).map(moment),
        "end_time": st.integers(6, 12).map(moment),
        "include_control": st.booleans(),
    },
)


def as_given(number, made):
    members = event(number, seconds=made["seconds"])
    members |= {name: made[name] for name in ("user_id", "event_type", "log_level", "message") if made[name]}
    if made["style"] == "ours":
        return members
    return json.dumps(members, separators=(", ", ": "), ensure_ascii=made["style"] == "escaped").encode()


def naive(folder, query):
    """Return what is wanted of each stream, in the order of its lines."""
    wanted = {}
    for stream, lines in stored_lines(folder).items():
        events = [AuditEvent.from_line(line) for line in lines]
        wanted[stream] = [one for one in events if is_wanted(one, query)]
    return wanted


def is_wanted(one, query):
    said = json.dumps(one.to_members(), ensure_ascii=False).lower() if query.text else ""
    stamp = one.timestamp.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
    plain = json.dumps(query.text, ensure_ascii=False)[1:-1].lower() if query.text else ""
    # JSON's own quotes must not be taken for text.
    if query.text == '"':
        plain = '\\"'
    return (
        (query.include_control or not one.is_control)
        and (query.user_id is None or one.user_id == query.user_id)
        and (query.types is None or one.event_type in query.types)
        and (query.levels is None or one.log_level in query.levels)
        and plain in said
        and (query.start is None or stamp >= query.start)
        and (query.end is None or stamp <= query.end)
    )


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    parts=st.lists(st.lists(made_event, min_size=1, max_size=25), min_size=1, max_size=3),
    asked=made_query,
    limit=st.integers(1, 9),
    newest_first=st.booleans(),
    packing=st.sampled_from(["none", "gzip", "zstd"]),
)
def test_pages_are_what_a_reader_without_short_cuts_finds(parts, asked, limit, newest_first, packing):
    count = iter(range(10_000))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        given_events = [[as_given(next(count), made) for made in part] for part in parts]
        write_side_by_side(folder, given_events, compress=packing, rotation=SMALL)
        query = Query(limit=None, newest_first=newest_first, **asked)
        together = [one for page in all_pages(folder, limit=limit, newest_first=newest_first, **asked) for one in page]
        assert [one.sealed_line for one in iter_events(folder, query)] == [one.sealed_line for one in together]
        assert count_events(folder, query) == len(together)
        by_stream = naive(folder, query)
        for stream, wanted in by_stream.items():
            lines = [one.sealed_line for one in together if one.stream == stream]
            assert lines == [one.sealed_line for one in (reversed(wanted) if newest_first else wanted)]
        assert len(together) == sum(map(len, by_stream.values()))
        # Where a clock went back, what a manifest says of unwanted events counts, too.
        clocks = [[made["seconds"] for made in part] for part in parts]
        if not asked or all(clock == sorted(clock) for clock in clocks):
            assert_merged(together, newest_first=newest_first)
        if not asked:
            assert not breaks(together[::-1] if newest_first else together)


def assert_merged(events, *, newest_first):
    """Each event comes with its running time, and these are in order."""
    running = {}
    times = []
    for one in events:
        before = running.get(one.stream, one.timestamp)
        running[one.stream] = min(before, one.timestamp) if newest_first else max(before, one.timestamp)
        times.append(running[one.stream])
    assert all((a >= b) if newest_first else (a <= b) for a, b in pairwise(times))
