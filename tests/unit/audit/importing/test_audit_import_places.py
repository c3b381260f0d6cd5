"""Which folders an import takes, which it refuses, and what it leaves out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fapilog_audit.errors import ConfigError
from fapilog_audit.importing import LeftOut, import_folder
from fapilog_tamper import SealedLog, SealKeyError
from fapilog_tamper.keys import HmacKey

K1 = HmacKey("k1", bytes(range(32)))
LINE = (Path(__file__).parent / "samples/normal/audit_2026-11-21.jsonl").read_bytes()


@pytest.fixture
def old(tmp_path):
    folder = tmp_path / "old"
    folder.mkdir()
    (folder / "audit_2024-01-01.jsonl").write_bytes(LINE)
    return folder


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize("new", ["old", "old/new", "old/a/b", ".", "other/../old", "link", "link/new"])
def test_folders_inside_each_other_are_refused(tmp_path, old, new):
    (tmp_path / "link").symlink_to(old)
    before = names(tmp_path)
    with pytest.raises(ConfigError, match="inside"):
        import_folder(old, tmp_path / new, key=None)
    assert names(tmp_path) == before


@pytest.mark.parametrize("state", ["old", "old/state"])
def test_a_state_folder_in_the_old_one_is_refused(tmp_path, old, state):
    with pytest.raises(ConfigError, match=r"state_dir, .* is .*old or inside it"):
        import_folder(old, tmp_path / "new", key=None, state_dir=tmp_path / state)
    assert names(old) == ["audit_2024-01-01.jsonl"]


def test_a_relative_path_is_of_the_working_folder(old, monkeypatch):
    monkeypatch.chdir(old)
    with pytest.raises(ConfigError, match="inside"):
        import_folder(".", "new", key=None)


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="nowhere is no folder"):
        import_folder(tmp_path / "nowhere", tmp_path / "new", key=None)


def test_a_file_is_refused(old, tmp_path):
    with pytest.raises(ConfigError, match=r"audit_2024-01-01\.jsonl is no folder"):
        import_folder(old / "audit_2024-01-01.jsonl", tmp_path / "new", key=None)


def test_an_empty_folder_is_refused(tmp_path):
    (tmp_path / "old").mkdir()
    with pytest.raises(ConfigError, match=r"holds no file audit_YYYY-MM-DD\.jsonl of an old trail: it is empty"):
        import_folder(tmp_path / "old", tmp_path / "new", key=None)


def test_a_folder_without_an_old_trail_is_refused_and_says_what_is_there(tmp_path):
    (tmp_path / "old").mkdir()
    (tmp_path / "old/audit.log").write_text("x")
    with pytest.raises(ConfigError, match=r"of an old trail, but audit\.log\."):
        import_folder(tmp_path / "old", tmp_path / "new", key=None)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read anything")
@pytest.mark.parametrize("what", ["", "audit_2024-01-01.jsonl"])
def test_what_cannot_be_read_is_refused(tmp_path, old, what):
    (old / what).chmod(0)
    with pytest.raises(ConfigError, match="cannot be read: Permission denied"):
        import_folder(old, tmp_path / "new", key=None)
    (old / what).chmod(0o700)
    assert not (tmp_path / "new").exists()


def test_a_folder_with_a_log_is_refused(tmp_path, old):
    with SealedLog.open(tmp_path / "new", key=K1, stream="audit") as log:
        log.append({"n": 1})
    before = names(tmp_path / "new")
    with pytest.raises(ConfigError, match=r"new holds a log already \(.*Choose an empty folder"):
        import_folder(old, tmp_path / "new", key=K1)
    assert names(tmp_path / "new") == before


def test_a_folder_with_a_finished_import_is_refused_as_a_log(tmp_path, old):
    import_folder(old, tmp_path / "new", key=K1)
    with pytest.raises(ConfigError, match="holds a log already"):
        import_folder(old, tmp_path / "new", key=K1)


@pytest.mark.parametrize("name", ["other.jsonl", "audit_2024-01-01.jsonl.manifest.json", ".fapilog/x"])
def test_any_part_of_a_log_is_one(tmp_path, old, name):
    (tmp_path / "new" / name).parent.mkdir(parents=True)
    (tmp_path / "new" / name).write_text("{}\n")
    with pytest.raises(ConfigError, match="holds a log already"):
        import_folder(old, tmp_path / "new", key=None)


def test_other_files_in_the_new_folder_are_none_of_its_business(tmp_path, old):
    (tmp_path / "new").mkdir()
    (tmp_path / "new/README").write_text("mine")
    assert import_folder(old, tmp_path / "new", key=None).entries == 4


def test_a_state_folder_with_a_head_is_refused(tmp_path, old):
    with SealedLog.open(tmp_path / "a", key=K1, stream="audit", state_dir=tmp_path / "state") as log:
        log.append({"n": 1})
    with pytest.raises(ConfigError, match="state holds the head of a log"):
        import_folder(old, tmp_path / "new", key=K1, state_dir=tmp_path / "state")
    assert not (tmp_path / "new").exists()


def test_a_key_that_cannot_be_used_makes_no_folder(tmp_path, old):
    with pytest.raises(SealKeyError):
        import_folder(old, tmp_path / "new", key="file:nowhere.jwk")
    assert not (tmp_path / "new").exists()


def test_what_is_not_of_an_old_trail_is_left_out_and_told(tmp_path, old):
    with SealedLog.open(tmp_path / "sealed", key=K1, stream="audit") as log:
        log.append({"n": 1})
    segment = next((tmp_path / "sealed").glob("*.jsonl"))
    (old / "audit_2024-01-02.jsonl").write_bytes(segment.read_bytes())
    (old / "audit_2024-02-30.jsonl").write_bytes(LINE)
    (old / "audit_2024-01-03.jsonl").mkdir()
    (old / "audit_2024-01-04.jsonl.gz").write_bytes(b"")
    (old / "app.log").write_text("x")
    report = import_folder(old, tmp_path / "new", key=None)
    assert report.left_out == [
        LeftOut("app.log", "not named audit_YYYY-MM-DD.jsonl"),
        LeftOut("audit_2024-01-02.jsonl", "a segment of a sealed log already"),
        LeftOut("audit_2024-01-03.jsonl", "a folder"),
        LeftOut("audit_2024-01-04.jsonl.gz", "not named audit_YYYY-MM-DD.jsonl"),
        LeftOut("audit_2024-02-30.jsonl", "not named after a day that exists"),
    ]
    assert [facts.name for facts in report.files] == ["audit_2024-01-01.jsonl"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are of POSIX")
def test_a_named_pipe_is_left_out_and_not_waited_for(tmp_path, old):
    os.mkfifo(old / "audit_2024-01-02.jsonl")
    report = import_folder(old, tmp_path / "new", key=None)
    assert report.left_out == [LeftOut("audit_2024-01-02.jsonl", "no regular file")]
