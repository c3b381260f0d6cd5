"""The untouched twins: every honest log verifies as intact, whatever it is attested by."""

from __future__ import annotations

import pytest
from support.logs import SHAPES, SITUATIONS, make_log, write_image

from fapilog_tamper import verify_path


@pytest.mark.parametrize("deep", [False, True], ids=["plain", "deep"])
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda one: one.name)
def test_an_untouched_log_is_intact(situation, shape, deep, tmp_path):
    log = make_log(situation, shape)
    report = verify_path(write_image(log.image, tmp_path / "log"), keyring=situation.keyring, deep=deep)
    assert report.valid, report.findings
    ends = {stream.stream: stream.end_attested_by for stream in report.streams}
    expected = "head" if shape.head else "manifest" if shape.manifests else None
    assert ends == {"audit": expected, "audit.w2": expected}
    if situation.keys:
        assert all(one.authenticated_through >= one.last_seq - 1 for one in report.streams)
