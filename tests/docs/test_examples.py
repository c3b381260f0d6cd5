"""Every example of the README pages runs, in order, as pasted, and prints what the page says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [
    "README.md",
    "packages/fapilog-audit/README.md",
    "packages/fapilog-tamper/README.md",
    "docs/how-to/audit-sink.md",
    "docs/how-to/seal-a-fapilog-service.md",
    "docs/reference/audit-events.md",
    "docs/reference/audit-trail.md",
    "docs/reference/cli.md",
    "docs/reference/policy.md",
    "docs/reference/writing.md",
]
BLOCK = re.compile(r"^```(console|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def run(command: list[str] | str, folder: Path, exported: dict[str, str] | None = None) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "COLUMNS": "200", "NO_COLOR": "1", **(exported or {})}
    done = subprocess.run(
        command, shell=isinstance(command, str), cwd=folder, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, 1), done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def assert_like(printed: str, shown: str) -> None:
    """Compare output with a page, where `…` stands for anything."""
    pattern = re.escape(shown.strip()).replace("…", ".*")
    assert re.fullmatch(pattern, printed.strip(), re.DOTALL), f"printed:\n{printed}\nshown:\n{shown}"


def commands(text: str) -> list[tuple[str, str]]:
    parts = re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]
    return [(part.split("\n", 1)[0], part.split("\n", 1)[1]) for part in parts]


@pytest.mark.parametrize("page", PAGES)
def test_the_examples_run_as_pasted(page, tmp_path):
    exported: dict[str, str] = {}
    for kind, text in BLOCK.findall((ROOT / page).read_text()):
        if kind == "python":
            printed = run([sys.executable, "-c", text], tmp_path, exported)
            said = re.findall(r"print\(.*\)  # (.*)", text)
            assert printed.splitlines()[: len(said)] == said
            continue
        for command, shown in commands(text):
            if command.startswith("export "):
                name = command.removeprefix("export ").partition("=")[0]
                exported[name] = run(f'{command}; printf %s "${name}"', tmp_path)
            elif not command.startswith("pip install"):
                printed = run(command, tmp_path, exported)
                if shown.strip():
                    assert_like(printed, shown)


@pytest.mark.parametrize("page", sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("docs/**/*.md")) + PAGES)
def test_links_lead_to_something(page):
    path = ROOT / page
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text()):
        assert (path.parent / target).exists(), target


def test_every_code_is_explained():
    from fapilog_tamper import Code, NoteCode

    text = (ROOT / "docs/reference/verdicts.md").read_text()
    missing = [code.value for code in (*Code, *NoteCode) if f"### `{code.value}`" not in text]
    assert not missing
    explained = set(re.findall(r"^### `(.*)`$", text, re.MULTILINE))
    assert explained <= {code.value for code in (*Code, *NoteCode)}


def test_the_demo_shows_the_changed_byte(tmp_path):
    printed = run([sys.executable, str(ROOT / "examples/demo.py")], tmp_path)
    assert "(exit code 0)" in printed
    assert re.search(r"payload-changed  demo-log/audit_.*\.jsonl:3  seq 3", printed)
    assert "(exit code 1)" in printed


def test_the_trust_file_of_the_page_is_read(tmp_path):
    from fapilog_tamper import Keyring
    from fapilog_tamper.keys import HmacKey, write_key_files

    text = (ROOT / "docs/reference/keys.md").read_text()
    write_key_files(tmp_path / "old.jwk", HmacKey("audit-2025", bytes(range(32))))
    (tmp_path / "trust.json").write_text(re.search(r"```json\n(.*?)```", text, re.DOTALL)[1])
    assert Keyring.load(tmp_path / "trust.json").key_ids == ("audit-2025", "audit-2026")
