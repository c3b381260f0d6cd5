"""One event by its id."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from unit.audit.reading.trails import crash, event, seal_lines, write, write_side_by_side

from fapilog_audit import errors
from fapilog_audit.reading import find_event
from fapilog_audit.stamp import new_stamp


def stamped(number):
    event_id, timestamp = new_stamp()
    return event(number) | {"event_id": event_id, "timestamp": timestamp}


@pytest.mark.parametrize("packing", ["none", "gzip"])
def test_an_event_is_found_in_any_stream_and_segment(tmp_path, packing):
    parts = [[stamped(n) for n in range(60)], [stamped(n) for n in range(60, 90)]]
    write_side_by_side(tmp_path, parts, compress=packing)
    for one in (parts[0][0], parts[0][30], parts[1][-1]):
        assert find_event(tmp_path, one["event_id"]).metadata == one["metadata"]


def test_an_id_of_another_kind_is_found_too(tmp_path):
    write(tmp_path, map(event, range(60)))
    assert find_event(tmp_path, "id-3").message == "event 3"


def test_an_event_is_found_though_its_id_tells_another_time(tmp_path):
    one = event(3) | {"event_id": new_stamp()[0]}
    old = (datetime.now(UTC) - timedelta(days=900)).isoformat()
    write(tmp_path, [one | {"timestamp": old}, *map(event, range(60))])
    assert find_event(tmp_path, one["event_id"]).message == "event 3"


def test_the_segments_of_its_time_are_looked_through_first(tmp_path):
    one = stamped(7)
    write(tmp_path, [*map(event, range(60)), one])
    # The same id in a segment of another time.
    (tmp_path / "zz_2026-11-21.jsonl").write_bytes(b"")
    forged = seal_lines([b'{"event_id":"%s","event_type":"data_access","message":"other"}' % one["event_id"].encode()])
    write(tmp_path / "b", map(event, range(3)), stream="zz")
    for path in (tmp_path / "b").glob("zz*"):
        path.rename(tmp_path / path.name)
    segment = next(path for path in tmp_path.glob("zz*.jsonl") if path.stat().st_size)
    segment.write_bytes(b"".join(forged))
    assert find_event(tmp_path, one["event_id"]).message == "event 7"


def test_its_control_lines_come_with_it(tmp_path):
    crash(tmp_path, 0, 3)
    write(tmp_path, map(event, range(3, 6)))
    assert len(find_event(tmp_path, "id-3").control_lines) == 1


def test_an_unknown_id_and_text_elsewhere_are_not_found(tmp_path):
    write(tmp_path, [event(0, message="id-77", metadata={"event_id": "id-77"})])
    assert find_event(tmp_path, "id-77") is None
    assert find_event(tmp_path, "id-78") is None
    assert find_event(tmp_path, "ffffffff-ffff-7fff-bfff-ffffffffffff") is None
    assert find_event(tmp_path / "none", "id-0") is None


def test_a_line_with_the_id_that_holds_no_event_is_passed_over(tmp_path):
    write(tmp_path, map(event, range(3)))
    path = next(tmp_path.glob("*.jsonl"))
    path.write_bytes(b'{"event_id":"id-1"}\n' + path.read_bytes())
    assert find_event(tmp_path, "id-1").message == "event 1"


@pytest.mark.parametrize("given", ["", None, 5])
def test_what_is_no_id_is_refused(tmp_path, given):
    with pytest.raises(errors.ConfigError, match="event_id is"):
        find_event(tmp_path, given)
