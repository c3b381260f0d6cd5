"""`show`: one event, where it stands, and whether it verifies alone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from unit.audit.cli.conftest import invoke, spoil
from unit.audit.reading.trails import event, seal_lines, write

if TYPE_CHECKING:
    from pathlib import Path

LONG = "01a1ff01-fd42-7dfe-abd5-4ed8ef63a68b"


@pytest.fixture
def logs(place: Path) -> Path:
    """Trails `u` and `k`, of which `k` has a key, of events with ids of some length."""
    events = [event(n, event_id=f"id-000000{n}", user_id="ada") for n in range(1, 4)]
    write(place / "u", [*events, event(4, event_id=LONG, metadata={"n": 4, "tags": ["a"]}, custom=[1])])
    from unit.audit.cli.conftest import HMAC

    write(place / "k", events, key=HMAC)
    return place


def test_text_has_everything_that_the_line_says(logs: Path) -> None:
    result = invoke("show", LONG, "u")
    assert result.exit_code == 0
    for text in (f"event {LONG}", "message     event 4", 'tags  ["a"]', "custom      [1]", "sequence_number  4"):
        assert text in result.stdout
    assert "key              none: unkeyed" in result.stdout
    assert result.stdout.endswith("\nINTACT: it is what was sealed; unkeyed, which anyone can compute anew\n")


def test_json_has_event_place_and_check(logs: Path) -> None:
    parsed = json.loads(invoke("show", "id-0000002", "k", "--key", "file:hmac.jwk", "--json").stdout)
    assert parsed["event"]["event_id"] == "id-0000002"
    assert parsed["integrity"]["seq"] == 2
    assert parsed["file"].startswith("audit_")
    assert parsed["check"] == {"outcome": "intact", "message": "its HMAC-SHA256 holds under the key k1"}
    assert parsed["schema_version"] == "1.0"


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["u"], 0, "INTACT: it is what was sealed; unkeyed"),
        (["u", "--key", "file:hmac.jwk"], 3, "UNDETERMINED: "),
        (["k"], 0, "NOT CHECKED: it is sealed under the key k1: give --key to check it"),
        (["k", "--key", "file:hmac.jwk"], 0, "INTACT: its HMAC-SHA256 holds under the key k1"),
        (["k", "--key", "file:other.jwk", "--key", "file:hmac.jwk"], 0, "INTACT: "),
        (["k", "--key", "file:other.jwk"], 3, "UNDETERMINED: "),
        (["k", "--key", "file:nowhere.jwk"], 2, ""),
    ],
)
def test_an_event_is_checked_as_far_as_keys_go(logs: Path, args: list[str], code: int, said: str) -> None:
    result = invoke("show", "id-0000002", *args)
    assert result.exit_code == code
    assert said in result.stdout


@pytest.mark.parametrize(("folder", "args"), [("u", []), ("k", []), ("k", ["--key", "file:hmac.jwk"])])
def test_a_changed_event_is_tampered_with_a_key_or_without(logs: Path, folder: str, args: list[str]) -> None:
    spoil(logs / folder, b"event 2", b"event 9")
    assert invoke("show", "id-0000001", folder, *args).exit_code == 0
    result = invoke("show", "id-0000002", folder, *args)
    assert (result.exit_code, "\nTAMPERED: " in result.stdout) == (1, True)


@pytest.mark.parametrize("known", [LONG, LONG[:8], LONG[:20]])
def test_the_begin_of_an_id_is_enough_when_no_other_has_it(logs: Path, known: str) -> None:
    assert json.loads(invoke("show", known, "u", "--json").stdout)["event"]["event_id"] == LONG


@pytest.mark.parametrize(
    ("known", "said"),
    [
        ("id-000000", "3 events have an id that begins with id-000000: id-0000001, id-0000002, id-0000003."),
        ("id-00000099", "no event of u has the id id-00000099."),
        ("7dfe-abd5", "no event of u has the id 7dfe-abd5."),
        ("id-0000", "'id-0000' is too short."),
    ],
)
def test_an_id_that_is_not_one_event_is_a_usage_error_with_a_hint(logs: Path, known: str, said: str) -> None:
    result = invoke("show", known, "u")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"error: {said}\nhint: ")


def test_the_file_is_the_segment_that_holds_the_event(tmp_path: Path) -> None:
    write(tmp_path, [event(n, event_id=f"id-{n:08}") for n in range(40)])
    for number in (0, 17, 39):
        found = json.loads(invoke("show", f"id-{number:08}", str(tmp_path), "--json").stdout)["file"]
        assert f"id-{number:08}".encode() in (tmp_path / found).read_bytes()


def test_an_event_that_is_nested_too_deep_is_shown_as_its_line(tmp_path: Path) -> None:
    text = b'{"event_id":"deep-event","event_type":"data_access","message":"m","metadata":{"a":%s}}'
    lines = seal_lines([text % (b"[" * 900 + b"]" * 900)])
    (tmp_path / "audit_2026-11-20.jsonl").write_bytes(b"".join(lines))
    result = invoke("show", "deep-event", str(tmp_path), "--json")
    assert (result.exit_code, json.loads(result.stdout)["event"]["line"]) == (0, lines[0].decode())
