"""The reference page of the command line shows what the commands print."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from docs import test_examples as examples

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.skipif(shutil.which("jq") is None, reason="needs jq: apt-get install jq")
def test_the_examples_of_the_page_of_audit_trails_run_as_pasted(tmp_path: Path) -> None:
    examples.test_the_examples_run_as_pasted("docs/reference/audit-cli.md", tmp_path)
    text = (examples.ROOT / "docs/reference/audit-cli.md").read_text()
    assert len(examples.commands("".join(block for _, block in examples.BLOCK.findall(text)))) == 19


def test_the_links_of_the_page_lead_to_something() -> None:
    examples.test_links_lead_to_something("docs/reference/audit-cli.md")
