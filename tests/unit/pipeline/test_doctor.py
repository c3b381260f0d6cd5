"""The doctor: each thing that fapilog hides is found, and beside each stands the twin in which nothing is wrong."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fapilog
import pytest

from fapilog_tamper import ExamineError
from fapilog_tamper.errors import ConfigError
from fapilog_tamper.pipeline.doctor import probing
from fapilog_tamper.pipeline.doctor.examine import examine
from fapilog_tamper.pipeline.doctor.findings import Code, Report, Severity, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[3]
KEY = "ab" * 32
LEVELS = ("INFO", "ERROR", "AUDIT", "SECURITY")

HELP = '''
import asyncio, json
import fapilog
from fapilog import Settings, get_logger
from fapilog.plugins.loader import register_builtin
from fapilog_tamper import SealedSink, TamperConfig, get_sealed_logger

ALL = ["ERROR", "CRITICAL", "FATAL", "AUDIT", "SECURITY"]
QUICK = {"drop_on_full": False, "batch_timeout_seconds": 0.01}
OPTIONS = {"directory": "log", "state_dir": "state"}

def make(core={}, plugins={"allow_external": True}, sealed={}, sinks=["sealed"], **rest):
    """Settings in which nothing is wrong, but for what is given."""
    rest.setdefault("sink_config", {"extra": {"sealed": {**OPTIONS, **sealed}}})
    return Settings(core={"sinks": sinks, **QUICK, **core}, plugins=plugins, **rest)

class Deaf:
    name = "deaf"
    async def write(self, entry): pass

class Hearing(Deaf):
    name = "hearing"
    async def write_serialized(self, view): pass

class Broken(Hearing):
    name = "broken"
    async def write_serialized(self, view): raise OSError("gone")

class Thief:
    name = "thief"
    async def filter(self, event): return None if event["level"] == "AUDIT" else event

register_builtin("fapilog.sinks", "deaf", Deaf)
register_builtin("fapilog.sinks", "hearing", Hearing)
register_builtin("fapilog.sinks", "broken", Broken)
register_builtin("fapilog.filters", "thief", Thief)
'''

BUILT_IN = '["sealed", "runtime_info", "context_vars", "url_credentials", "level"]'

# What is wrong, the twin in which it is not, and what is found: code and severity.
PAIRS: dict[str, tuple[str, str, set[tuple[str, str]]]] = {
    "not allowed": (
        "make(plugins={})",
        f"make(plugins={{'allowlist': {BUILT_IN}}})",
        {("plugin-not-allowed", "error"), ("sink-replaced", "error")},
    ),
    "plugins off": (
        "make(plugins={'enabled': False, 'allow_external': True})",
        "make(plugins={'enabled': True, 'allow_external': True})",
        {("plugin-not-allowed", "error"), ("sink-replaced", "error")},
    ),
    "not in the allowlist": (
        f"make(plugins={{'allow_external': True, 'allowlist': {BUILT_IN.replace('sealed', 'webhook')}}})",
        f"make(plugins={{'allow_external': True, 'allowlist': {BUILT_IN.replace('sealed', 'Sealed')}}})",
        {("plugin-not-allowed", "error"), ("sink-replaced", "error")},
    ),
    "denied": (
        "make(plugins={'allow_external': True, 'denylist': ['Sealed']})",
        "make(plugins={'allow_external': True, 'denylist': ['webhook']})",
        {("plugin-denied", "error"), ("sink-replaced", "error")},
    ),
    "allowlist": (
        "make(plugins={'allowlist': ['sealed']})",
        f"make(plugins={{'allowlist': {BUILT_IN}}})",
        {("allowlist-excludes", "warning")},
    ),
    "enricher not allowed": (
        f"make(plugins={{'allowlist': {BUILT_IN}}}, core={{'enrichers': ['context_vars', 'integrity']}})",
        "make(core={'enrichers': ['context_vars', 'integrity']})",
        {("plugin-not-allowed", "error")},
    ),
    "another plugin fails": (
        "make(core={'redactors': ['url_credential']})",
        "make(core={'redactors': ['url_credentials']})",
        {("plugin-failed", "warning")},
    ),
    "name of the sink's options": (
        "make(sink_config={'sealed_sink': OPTIONS, 'extra': {'sealed': OPTIONS}})",
        "make(sink_config={'stdout_json': {}, 'extra': {'sealed': OPTIONS}})",
        {("config-under-wrong-key", "error")},
    ),
    "option that typed settings drop": (
        (
            "make(sink_config={'sealed': {'inner_config': {'directory': 'log'}, 'chain_state_path': 'state',"
            " 'max_payload': 9999}})"
        ),
        "make(sink_config={'sealed': {'inner_config': {'directory': 'log'}, 'chain_state_path': 'state'}})",
        {("config-under-wrong-key", "error")},
    ),
    "hyphen": (
        "make(sink_config={'extra': {'sealed': OPTIONS, 'my-sink': {}}})",
        "make(sink_config={'extra': {'sealed': OPTIONS, 'my_sink': {}}})",
        {("config-under-wrong-key", "warning")},
    ),
    "other case": (
        "make(sink_config={'extra': {'Sealed': {}, 'sealed': OPTIONS}})",
        "make(sinks=['Sealed'])",
        {("config-under-wrong-key", "error")},
    ),
    "like the sink's name": (
        "make(sink_config={'extra': {'sealed_sink': {}, 'sealed': OPTIONS}})",
        "make(sink_config={'extra': {'webhook2': {}, 'sealed': OPTIONS}})",
        {("config-under-wrong-key", "error")},
    ),
    "enricher's options at the sink": (
        "make(sink_config={'extra': {'integrity': {}, 'sealed': OPTIONS}})",
        "make(enricher_config={'extra': {'integrity': {}}})",
        {("config-under-wrong-key", "error")},
    ),
    "typed beside extra": (
        "make(sink_config={'sealed': {'key_id': 'k'}, 'extra': {'sealed': OPTIONS}})",
        "make(sink_config={'extra': {'sealed': OPTIONS}})",
        {("config-under-wrong-key", "warning")},
    ),
    "setting with a typing error": (
        "make(core={'protected_level': []})",
        "make(core={'protected_levels': ALL})",
        {("config-under-wrong-key", "warning")},
    ),
    "unknown option": (
        "make(sealed={'directry': 'log'})",
        "make(sealed={'directory': 'log'})",
        {("unknown-option", "error"), ("sink-replaced", "error")},
    ),
    "option that cannot work": (
        "make(sealed={'max_files': 3})",
        "make(sealed={'max_bytes': 100_000})",
        {("bad-option", "error"), ("sink-replaced", "error")},
    ),
    "inner sink that does not exist": (
        "make(sealed={'inner_sink': 'nowhere'})",
        "make(sealed={'inner_sink': 'hearing'})",
        {("bad-option", "error"), ("sink-replaced", "error")},
    ),
    "no sealed sink": ("make(sinks=['hearing'], sink_config={})", "make()", {("no-sealed-sink", "error")}),
    "configured and not listed": (
        "make(sinks=['hearing'])",
        "make(sinks=['hearing', 'sealed'])",
        {("sink-not-in-sinks", "error")},
    ),
    "typed and not listed": (
        "make(sinks=['hearing'], sink_config={'sealed': {'key_id': 'k'}})",
        "lambda: get_logger(settings=make(sinks=['hearing']), sinks=[SealedSink(**OPTIONS)], reuse=False)",
        {("sink-not-in-sinks", "error")},
    ),
    "preset": (
        "lambda: get_logger(preset='production', reuse=False)",
        "lambda: get_sealed_logger(settings=make(), **OPTIONS)",
        {("no-sealed-sink", "error")},
    ),
    "not enabled": ("make(sealed={'enabled': False})", "make(sealed={'enabled': True})", {("not-enabled", "error")}),
    "object that is not enabled": (
        "lambda: get_logger(settings=make(), sinks=[SealedSink(TamperConfig())], reuse=False)",
        (
            "lambda: get_logger(settings=make(), sinks=[SealedSink(TamperConfig(enabled=True,"
            " state_dir='state'))], reuse=False)"
        ),
        {("not-enabled", "error")},
    ),
    "no key": (
        "make(sealed={'key_env_var': 'NOWHERE'})",
        "make(sealed={'key_env_var': 'FAPILOG_TAMPER_KEY'})",
        {("no-key", "error")},
    ),
    "no key file": ("make(sealed={'key': 'file:nowhere.jwk'})", "make()", {("no-key", "error")}),
    "bad key": (
        "make(sealed={'key': 'file:short.key'})",
        "make(sealed={'key': 'file:good.key'})",
        {("bad-key", "error")},
    ),
    "enricher without a key": (
        (
            "make(sinks=['hearing'], sink_config={}, core={'enrichers': ['integrity'], 'redactors': []},"
            " enricher_config={'extra': {'integrity': {'key_env_var': 'NOWHERE'}}})"
        ),
        "make(core={'enrichers': ['integrity']}, enricher_config={'extra': {'integrity': {'key_env_var': 'NOWHERE'}}})",
        {("no-key", "error"), ("no-sealed-sink", "note")},
    ),
    "folder that cannot be one": (
        "make(sealed={'directory': 'short.key'})",
        "make(sealed={'directory': 'elsewhere'})",
        {("write-failed", "error")},
    ),
    "unprotected levels": (
        "make(core={'protected_levels': ['ERROR', 'CRITICAL', 'SECURITY']})",
        "make(core={'protected_levels': ['error', 'critical', 'audit', 'security']})",
        {("levels-droppable", "warning")},
    ),
    "errors that repeat themselves": (
        "make(core={'protected_levels': ['AUDIT', 'SECURITY']})",
        "make(core={'protected_levels': ['AUDIT', 'SECURITY'], 'error_dedupe_window_seconds': 0})",
        {("levels-droppable", "warning")},
    ),
    "sampling rate": (
        "make(observability={'logging': {'sampling_rate': 0.01}})",
        "make(observability={'logging': {'sampling_rate': 1.0}})",
        {("filter-drops", "warning")},
    ),
    "small protected queue": (
        "make(core={'protected_queue_size': 10})",
        "make(core={'protected_queue_size': 100, 'max_queue_size': 10})",
        {("levels-droppable", "warning")},
    ),
    "drop on full": (
        "make(core={'drop_on_full': True})",
        "make(core={'drop_on_full': False})",
        {("drop-on-full", "warning")},
    ),
    "serialized": (
        "make(core={'serialize_in_flush': True})",
        "make(core={'serialize_in_flush': False, 'strict_envelope_mode': True})",
        {("serialize-in-flush", "note")},
    ),
    "serialized for a sink that has no ear for it": (
        "make(sinks=['sealed', 'deaf'], core={'serialize_in_flush': True})",
        "make(sinks=['sealed', 'deaf'])",
        {("serialize-in-flush", "error"), ("serialize-in-flush", "note")},
    ),
    "serialized and strict": (
        "make(core={'serialize_in_flush': True, 'strict_envelope_mode': True})",
        "make(core={'strict_envelope_mode': True})",
        {("serialize-in-flush", "error")},
    ),
    "serialized and routed": (
        (
            "make(sinks=['sealed', 'hearing'], core={'serialize_in_flush': True}, sink_routing={'enabled': True,"
            " 'rules': [{'levels': ['INFO'], 'sinks': ['hearing']}], 'fallback_sinks': ['sealed']})"
        ),
        (
            "make(sinks=['sealed', 'hearing'], sink_routing={'enabled': True,"
            " 'rules': [{'levels': ['INFO'], 'sinks': ['hearing', 'sealed']}], 'fallback_sinks': ['sealed']})"
        ),
        {("serialize-in-flush", "error"), ("serialize-in-flush", "note"), ("routing-drops", "error")},
    ),
    "circuit breaker": (
        "make(core={'sink_circuit_breaker_enabled': True, 'sink_circuit_breaker_fallback_sink': 'rotating_file'})",
        "make(core={'sink_circuit_breaker_fallback_sink': 'rotating_file'})",
        {("circuit-breaker-without-fallback", "warning")},
    ),
    "circuit breaker with a fallback": (
        (
            "make(sinks=['sealed', 'hearing'], core={'sink_circuit_breaker_enabled': True,"
            " 'sink_circuit_breaker_fallback_sink': 'hearing'})"
        ),
        "make(sinks=['sealed', 'hearing'])",
        {("circuit-breaker-without-fallback", "warning")},
    ),
    "level without a sink": (
        "make(sink_routing={'enabled': True, 'rules': [{'levels': ['INFO', 'AUDIT'], 'sinks': ['sealed']}]})",
        "make(sink_routing={'enabled': True, 'rules': [{'levels': ['*'], 'sinks': ['sealed']}]})",
        {("routing-drops", "error")},
    ),
    "audit level past the log": (
        (
            "make(sinks=['sealed', 'hearing'], sink_routing={'enabled': True, 'fallback_sinks': ['sealed'],"
            " 'rules': [{'levels': ['AUDIT'], 'sinks': ['hearing']}]})"
        ),
        (
            "make(sinks=['sealed', 'hearing'], sink_routing={'enabled': True, 'fallback_sinks': ['sealed'],"
            " 'rules': [{'levels': ['DEBUG'], 'sinks': ['hearing']}]})"
        ),
        {("routing-drops", "error")},
    ),
    "other level past the log": (
        (
            "make(sinks=['sealed', 'hearing'], sink_routing={'enabled': True, 'fallback_sinks': ['sealed'],"
            " 'rules': [{'levels': ['INFO'], 'sinks': ['hearing']}]})"
        ),
        (
            "make(sinks=['sealed', 'hearing'], sink_routing={'enabled': False, 'fallback_sinks': ['sealed'],"
            " 'rules': [{'levels': ['INFO'], 'sinks': ['hearing']}]})"
        ),
        {("routing-drops", "warning")},
    ),
    "sampling": (
        "make(core={'filters': ['sampling']}, filter_config={'sampling': {'config': {'sample_rate': 0.0}}})",
        "make(core={'filters': ['sampling']}, filter_config={'sampling': {'config': {'sample_rate': 1.0}}})",
        {("filter-drops", "error")},
    ),
    "sampling of traces": (
        "make(core={'filters': ['trace_sampling']})",
        (
            "make(core={'filters': ['trace_sampling']}, filter_config={'trace_sampling': {'config':"
            " {'always_pass_levels': ALL}}})"
        ),
        {("filter-drops", "error")},
    ),
    "adaptive sampling": (
        "make(core={'filters': ['adaptive_sampling']})",
        (
            "make(core={'filters': ['adaptive_sampling']}, filter_config={'adaptive_sampling': {'config':"
            " {'always_pass_levels': ALL}}})"
        ),
        {("filter-drops", "warning")},
    ),
    "rate limit": (
        "make(core={'filters': ['rate_limit']})",
        "make(core={'filters': ['rate_limit']}, filter_config={'rate_limit': {'config': {'overflow_action': 'mark'}}})",
        {("filter-drops", "warning")},
    ),
    "first occurrence": ("make(core={'filters': ['first_occurrence']})", "make()", {("filter-drops", "warning")}),
    "level filter above audit": (
        "make(core={'filters': ['level']}, filter_config={'level': {'config': {'min_level': 'SECURITY'}}})",
        "make(core={'filters': ['level']}, filter_config={'level': {'config': {'min_level': 'AUDIT'}}})",
        {("filter-drops", "error")},
    ),
    "a filter that takes a level": (
        "make(core={'filters': ['thief']})",
        "make(core={'log_level': 'ERROR'})",
        {("probe-lost", "error")},
    ),
    "enricher behind which events change": (
        (
            "make(sinks=['hearing'], sink_config={}, core={'redactors': [], 'enrichers': ['context_vars',"
            " 'integrity']}, enricher_config={'extra': {'integrity': {'state_dir': 'state'}}})"
        ),
        "make(core={'enrichers': ['context_vars', 'integrity']})",
        {("enricher-proof-broken", "error"), ("no-sealed-sink", "note")},
    ),
    "enricher and redactor": (
        (
            "make(sinks=['hearing'], sink_config={}, core={'enrichers': ['integrity']},"
            " enricher_config={'extra': {'integrity': {'state_dir': 'state'}}})"
        ),
        "make(core={'enrichers': ['integrity']})",
        {("enricher-proof-broken", "error"), ("no-sealed-sink", "note")},
    ),
    "enricher alone": (
        (
            "make(sinks=['hearing'], sink_config={}, core={'enrichers': ['integrity'], 'redactors': []},"
            " enricher_config={'extra': {'integrity': {'state_dir': 'state'}}})"
        ),
        "make(core={'enrichers': ['integrity']})",
        {("no-sealed-sink", "note")},
    ),
    "state beside the log": (
        "make(sealed={'state_dir': None})",
        "make(sealed={'state_dir': 'elsewhere'})",
        {("state-beside-log", "note")},
    ),
    "state in the log": (
        "make(sealed={'state_dir': 'log/heads'})",
        "make(sealed={'state_dir': 'log.heads'})",
        {("state-beside-log", "note")},
    ),
    "shared folder": (
        "make(sealed={'directory': 'shared'})",
        "make(sealed={'directory': 'unshared'})",
        {("folder-shared", "error")},
    ),
    "key beside the log": (
        "make(sealed={'directory': 'keyed', 'key': 'file:keyed/good.key'})",
        "make(sealed={'directory': 'keyed', 'key': 'file:good.key'})",
        {("key-readable-with-log", "warning")},
    ),
    "inner sink that does not answer": (
        "make(sealed=dict(zip(('inner_sink', 'inner_config'), ('broken', {}))))",
        "make(sealed=dict(zip(('inner_sink', 'inner_config'), ('hearing', {}))))",
        {("inner-sink-failing", "warning")},
    ),
}


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder to work in, with keys and an environment that says nothing else."""
    for variable in list(os.environ):
        if variable.startswith("FAPILOG_"):
            monkeypatch.delenv(variable)
    monkeypatch.setenv("FAPILOG_TAMPER_KEY", KEY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name, text in (("good.key", KEY), ("keyed/good.key", KEY), ("short.key", "abc"), ("shared/app.jsonl", "{}\n")):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o600)
    yield tmp_path
    asyncio.run(fapilog.clear_logger_cache())


@pytest.fixture
def found(place: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Report]:
    """Examine the value of an expression, as an attribute of a module."""

    def run(expression: str, before: str = "") -> Report:
        (place / "given_settings.py").write_text(f"{HELP}\n{before}\nvalue = {expression}\n")
        monkeypatch.delitem(sys.modules, "given_settings", raising=False)
        try:
            return examine("given_settings:value", timeout=20)
        finally:
            sys.modules.pop("given_settings", None)

    return run


def codes(report: Report) -> set[tuple[str, str]]:
    return {(finding.code.value, finding.severity.value) for finding in report.findings}


def of(report: Report, code: str) -> Any:
    return next(finding for finding in report.findings if finding.code.value == code)


@pytest.mark.parametrize("name", PAIRS)
def test_what_is_wrong_is_found_and_nothing_else(found, name):
    wrong, _, expected = PAIRS[name]
    report = found(wrong)
    assert codes(report) == expected, report.findings
    assert report.exit_code == any(severity == "error" for _, severity in expected)
    for finding in report.findings:
        assert finding.what
        assert finding.why.endswith((".", "…")) or "fapilog said" in finding.why
        assert finding.fix


@pytest.mark.parametrize("name", PAIRS)
def test_its_twin_is_healthy(found, name):
    report = found(PAIRS[name][1])
    # Sampling is meant to drop, and is remarked on.
    remarks = {("filter-drops", "note")} if name in {"sampling of traces", "adaptive sampling"} else set()
    assert {(one.code.value, one.severity.value) for one in report.findings} == remarks
    assert report.verdict is (Verdict.REMARKS if remarks else Verdict.HEALTHY)
    assert report.exit_code == 0
    meant_to_go = {"INFO"} if "trace_sampling" in report.checked.filters else set()
    assert set(report.checked.sent) - set(report.checked.found) <= meant_to_go
    assert report.checked.found
    assert report.checked.verification == "intact"


def test_the_report_says_what_was_checked(found, place):
    report = found("make(sealed={'filename_prefix': 'shop', 'key_id': 'k7'})")
    checked = report.checked
    assert (checked.configuration, checked.logger, checked.sinks) == (
        "given_settings:value",
        "root (sync)",
        ("sealed",),
    )
    assert (checked.folder, checked.stream, checked.key_id) == (str(place / "log"), "shop", "k7")
    assert checked.sent == checked.found == LEVELS
    lines = [line for path in place.glob("log/*.jsonl") for line in path.read_text().splitlines()]
    events = [json.loads(line)["log"] for line in lines]
    assert {event["message"] for event in events} == {"fapilog-tamper doctor probe"}
    assert len({event["data"]["doctor_probe"] for event in events}) == 1
    members = json.loads(report.to_json())
    assert list(members) == ["schema_version", "verdict", "findings", "checked", "not_checked"]
    assert members["schema_version"] == "1.0"
    assert members["checked"]["found"] == list(LEVELS)


def test_a_second_examination_of_the_same_log_finds_its_own_probes(found):
    assert found("make()").findings == ()
    second = found("make(core={'filters': ['thief']})")
    assert "AUDIT" in of(second, "probe-lost").what
    assert "thief" in of(second, "probe-lost").fix
    assert second.checked.found == ("INFO", "ERROR", "SECURITY")


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("masked", [[], ["data.doctor_probe"]])
def test_probes_of_an_earlier_examination_are_not_taken_for_those_of_this_one(found, compressed, masked):
    rest = (
        f"sealed={{'compress_rotated': {compressed}}}, redactor_config={{'field_mask': {{'fields_to_mask': {masked}}}}}"
    )
    first = found(f"make(core={{'redactors': ['field_mask']}}, {rest})")
    assert (first.findings, first.checked.found) == ((), LEVELS)
    second = found(f"make(core={{'redactors': ['field_mask'], 'filters': ['thief']}}, {rest})")
    assert codes(second) == {("probe-lost", "error")}
    assert second.checked.found == ("INFO", "ERROR", "SECURITY")


def test_a_line_with_the_mark_of_another_examination_is_not_a_probe_of_this_one(place):
    """As a second doctor writes it that runs at the same time."""
    marks = {"INFO": "0" * 32, "ERROR": "1" * 32, "AUDIT": "***"}
    lines = [
        {
            "integrity": {"stream": "s"},
            "log": {"data": {"doctor_probe": mark}, "level": level, "message": probing.MESSAGE},
        }
        for level, mark in marks.items()
    ]
    text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
    (place / "s_2026-01-01.jsonl").write_text(text)
    probed = probing.Probed()
    probing._look(probed, place, {}, "0" * 32)
    assert (probed.found, probed.streams) == (("INFO", "AUDIT"), ("s",))


def test_the_shut_out_plugins_are_named(found):
    told = of(found("make(plugins={'allowlist': ['sealed']})"), "allowlist-excludes").what
    for name in ("enricher runtime_info", "enricher context_vars", "redactor url_credentials", "filter level"):
        assert name in told


def test_the_nearest_option_is_named(found):
    finding = of(found("make(sealed={'directry': 'log'})"), "unknown-option")
    assert "'directry'" in finding.what
    assert finding.fix == "Did you mean directory?"


def test_what_took_the_place_of_the_sink_is_named(found):
    report = found("make(plugins={})")
    assert "stdout_json took its place" in of(report, "sink-replaced").what
    assert "External plugins disabled" in of(report, "sink-replaced").why
    assert of(report, "plugin-not-allowed").fix == 'Settings(plugins={"allow_external": True})'
    assert of(report, "plugin-not-allowed").env == "FAPILOG_PLUGINS__ALLOW_EXTERNAL=true"
    assert "goes on with hearing" in of(found("make(plugins={}, sinks=['hearing', 'sealed'])"), "sink-replaced").what


def test_a_preset_that_takes_the_place_of_the_environment_is_named(found, monkeypatch):
    monkeypatch.setenv("FAPILOG_CORE__SINKS", '["sealed"]')
    report = found("lambda: get_logger(preset='serverless', reuse=False)")
    assert codes(report) == {("sink-not-in-sinks", "error")}
    assert "preset serverless" in of(report, "sink-not-in-sinks").what


@pytest.mark.parametrize("preset", sorted(fapilog.core.presets.PRESETS))
def test_a_sealed_logger_with_a_preset_seals_every_probe(found, preset):
    report = found(f"lambda: get_sealed_logger({preset!r}, preset={preset!r}, **OPTIONS)")
    assert report.checked.found == LEVELS
    expected = {"drop-on-full"} if preset in {"dev", "minimal", "serverless"} else set()
    if preset == "production":
        expected |= {"levels-droppable", "circuit-breaker-without-fallback"}
    assert {code for code, _ in codes(report)} == expected
    assert report.verdict is (Verdict.REMARKS if expected else Verdict.HEALTHY)


@pytest.mark.parametrize(
    "expression",
    [
        "get_logger(settings=make(), reuse=False)",
        "lambda: make()",
        "lambda: fapilog.get_async_logger(settings=make(), reuse=False)",
        "type('Holder', (), {'inner': make()})",
    ],
)
def test_settings_loggers_and_what_returns_them_can_be_examined(found, expression, place, monkeypatch):
    if "Holder" not in expression:
        report = found(expression)
    else:
        (place / "holding.py").write_text(f"{HELP}\nvalue = {expression}\n")
        report = examine("holding:value.inner")
        monkeypatch.delitem(sys.modules, "holding")
    assert report.findings == ()
    assert report.checked.found == LEVELS
    assert report.checked.logger == ("root (async)" if "async" in expression else "root (sync)")


@pytest.mark.parametrize("preset", ["production", "serverless"])
def test_the_builder_of_fapilog_is_not_told_of_what_it_wrote_itself(found, preset):
    builder = f"fapilog.LoggerBuilder().with_preset({preset!r}).with_plugins(allow_external=True)"
    report = found(f"{builder}.with_enrichers('integrity').build")
    assert "config-under-wrong-key" not in {code for code, _ in codes(report)}
    assert not report.not_checked[1:]


def test_what_was_not_looked_at_is_said(found):
    report = found("get_logger(settings=make().model_copy(), reuse=False)")
    assert report.findings == ()
    assert report.not_checked == ("names that fapilog ignores: it is not known what the settings were made from",)


def test_a_logger_that_was_drained_is_an_error_and_gets_no_probe(found, place):
    report = found("get_logger(settings=make(), reuse=False)", "")
    assert report.findings == ()
    drained = found("logger", "logger = get_logger(settings=make(), reuse=False); asyncio.run(logger.stop_and_drain())")
    assert codes(drained) == {("drained-logger-reused", "error")}
    assert drained.checked.sent == ()


def test_a_drained_logger_in_the_cache_is_a_warning(found):
    runtime = "with fapilog.runtime(settings=make()) as logger: logger.info('once')"
    assert codes(found("make()", runtime)) == {("drained-logger-reused", "warning")}
    # What others drained before is not of the case.
    assert found("make()").findings == ()
    asyncio.run(fapilog.clear_logger_cache())
    assert found("make()", f"{runtime}\nasyncio.run(fapilog.clear_logger_cache())").findings == ()


@pytest.mark.parametrize(
    ("variable", "text", "fix"),
    [
        ("FAPILOG_CORE_SINKS", '["sealed"]', "rename it to FAPILOG_CORE__SINKS"),
        ("FAPILOG_LOG_LEVEL", "DEBUG", "rename it to FAPILOG_CORE__LOG_LEVEL"),
        ("FAPILOG_CORE__SINK", '["sealed"]', "rename it to FAPILOG_CORE__SINKS"),
        ("FAPILOG_PLUGIN__ALLOW_EXTERNAL", "true", "rename it to FAPILOG_PLUGINS"),
        ("FAPILOG_CORE__ZEBRA", "1", "take the variable out"),
    ],
)
def test_a_variable_that_nobody_reads_is_a_warning(found, monkeypatch, variable, text, fix):
    monkeypatch.setenv(variable, text)
    report = found("make()")
    assert codes(report) == {("config-under-wrong-key", "warning")}
    assert variable in of(report, "config-under-wrong-key").what
    assert of(report, "config-under-wrong-key").fix == fix


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("FAPILOG_SINK_CONFIG__SEALED_SINK", '{"directory": "log"}'),
        ("FAPILOG_SINK_CONFIG__SEALED__MAX_PAYLOAD", "9999"),
        ("FAPILOG_SINK_CONFIG", '{"sealed-log": {"directory": "log"}}'),
        ("FAPILOG_SINK_CONFIG__EXTRA__SEALED_LOG__DIRECTORY", "log"),
    ],
)
def test_a_variable_that_is_meant_for_the_sink_and_does_not_reach_it_is_an_error(found, monkeypatch, variable, text):
    monkeypatch.setenv(variable, text)
    report = found("make()")
    assert ("config-under-wrong-key", "error") in codes(report)
    assert of(report, "config-under-wrong-key").env == "FAPILOG_SINK_CONFIG__EXTRA='{\"sealed\": {…}}'"


def test_variables_that_somebody_reads_are_not_reported(found, monkeypatch, place):
    for variable, text in {
        "FAPILOG_CORE__APP_NAME": "shop",
        "fapilog_core__log_level": "INFO",
        "FAPILOG_SINK_CONFIG__EXTRA__OTHER__X": "1",
        "FAPILOG_FILE__MODE": "json",
        "FAPILOG_LOKI__URL": "http://127.0.0.1",
        "FAPILOG_SERVICE": "shop",
        "FAPILOG_SHOP_WINDOW": "open",
        "FAPILOG_SINK_ROUTING__FALLBACK_SINKS": '["sealed"]',
        "FAPILOG_SECURITY__SEAL_KEY": KEY,
    }.items():
        monkeypatch.setenv(variable, text)
    assert found("make(sealed={'key_env_var': 'FAPILOG_SECURITY__SEAL_KEY'})").findings == ()


def test_the_environment_is_examined_as_get_logger_takes_it(monkeypatch):
    bare = examine()
    assert codes(bare) == {("no-sealed-sink", "error")}
    assert bare.checked.configuration == "environment"
    monkeypatch.setenv("FAPILOG_CORE__SINKS", '["sealed"]')
    monkeypatch.setenv("FAPILOG_CORE__DROP_ON_FULL", "false")
    assert codes(examine()) == {("plugin-not-allowed", "error"), ("sink-replaced", "error")}
    monkeypatch.setenv("FAPILOG_PLUGINS__ALLOW_EXTERNAL", "true")
    monkeypatch.setenv("FAPILOG_SINK_CONFIG__EXTRA", '{"sealed": {"directory": "log", "state_dir": "state"}}')
    sealed = examine()
    assert sealed.findings == ()
    assert sealed.checked.sinks == ("stdout_json", "sealed")
    assert sealed.checked.found == LEVELS


def test_a_log_that_was_changed_is_an_error(found, place):
    assert found("make()").findings == ()
    segment = next((place / "log").glob("*.jsonl"))
    segment.write_bytes(segment.read_bytes().replace(b'"AUDIT"', b'"AUDIX"'))
    report = found("make()")
    assert codes(report) == {("probe-not-intact", "error")}
    assert "tampered" in of(report, "probe-not-intact").what
    assert "payload-changed" in of(report, "probe-not-intact").what
    assert report.checked.verification == "tampered"


def test_a_log_under_an_older_key_needs_that_key(found):
    assert found("make(sealed={'key_id': 'old'})").findings == ()
    assert {code for code, _ in codes(found("make(sealed={'key_id': 'new'})"))} == {"write-failed"}


def test_other_streams_and_keys_in_the_folder_are_not_of_the_case(found, monkeypatch):
    assert found("make(sealed={'filename_prefix': 'other', 'key': 'file:good.key'})").findings == ()
    monkeypatch.setenv("FAPILOG_TAMPER_KEY", "cd" * 32)
    assert found("make()").findings == ()


@pytest.mark.parametrize(
    "more", ["'compress_rotated': True", "'rotate_chain': True", "'fsync_on_write': True", "'max_bytes': 65536"]
)
def test_probes_are_found_however_segments_are_written(found, more):
    for _ in range(2):
        report = found(f"make(sealed={{{more}}})")
        assert report.findings == ()
        assert report.checked.found == LEVELS


def test_events_that_a_processor_made_unreadable_are_not_taken_for_lost(found):
    packer = (
        "import zlib\nclass Packer:\n    name = 'packer'\n"
        "    async def process(self, view): return memoryview(zlib.compress(bytes(view)))\n"
        "register_builtin('fapilog.processors', 'packer', Packer)"
    )
    report = found("make(core={'serialize_in_flush': True, 'processors': ['packer']})", packer)
    assert codes(report) == {("serialize-in-flush", "note")}
    assert report.not_checked == ("4 new entries that a processor made unreadable",)


def test_a_sealed_sink_behind_a_sink_that_routes_is_found(found):
    report = found(
        "make(sinks=['routing'], sink_config={'extra': {'routing': {'routes': {'*': ['sealed']},"
        " 'sink_configs': {'sealed': OPTIONS}}}})"
    )
    assert report.findings == ()
    assert report.checked.found == LEVELS


def test_events_of_sinks_and_of_failed_writes_are_kept_from_stdout_and_stderr(found, capsys):
    found("make(sinks=['stdout_json', 'stdout_pretty', 'sealed'], sealed={'key_env_var': 'NOWHERE'})")
    assert capsys.readouterr() == ("", "")


def test_nothing_of_the_watch_stays_behind(found):
    before = (fapilog.Settings.__init__, fapilog._prepare_logger, fapilog.core.diagnostics.emit, sys.stdout)
    found("make()")
    assert (fapilog.Settings.__init__, fapilog._prepare_logger, fapilog.core.diagnostics.emit, sys.stdout) == before
    assert "__init__" not in vars(fapilog.Settings)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("given_settings", "does not name a module"),
        (":value", "does not name a module"),
        ("given_settings:", "does not name a module"),
        ("no_such_module:value", "cannot be imported: ModuleNotFoundError"),
        ("ends:value", "cannot be imported: SystemExit"),
        ("raises:value", "cannot be imported: ZeroDivisionError"),
        ("plain:nothing", "module plain has no nothing"),
        ("plain:number", "plain:number is a int"),
        ("plain:makes_number", "is a int"),
    ],
)
def test_what_cannot_be_examined_is_an_error_of_use(place, spec, message, monkeypatch):
    (place / "ends.py").write_text("raise SystemExit(3)")
    (place / "raises.py").write_text("1 / 0")
    (place / "plain.py").write_text("number = 3\ndef makes_number(): return 3")
    with pytest.raises(ConfigError, match=re.escape(message)):
        examine(spec)
    sys.modules.pop("plain", None)


def test_a_logger_that_cannot_be_made_ends_the_examination(found, monkeypatch):
    with pytest.raises(ExamineError, match=r"the logger cannot be made: ZeroDivisionError"):
        found("lambda: 1 / 0")
    monkeypatch.setenv("FAPILOG_CORE__SINKS", "sealed")
    with pytest.raises(ExamineError, match=r"the logger cannot be made: SettingsError"):
        examine()


def test_a_sink_that_hangs_ends_the_examination(place):
    (place / "hanging.py").write_text(
        f"{HELP}\nreleased = []\nclass Hanging(Deaf):\n    name = 'hanging'\n"
        "    async def write(self, entry):\n        while not released: await asyncio.sleep(0.005)\n"
        "value = get_logger(settings=make(), sinks=[Hanging()], reuse=False)\n"
    )
    with pytest.raises(ExamineError, match=r"not drained within 0\.2 seconds"):
        examine("hanging:value", timeout=0.2)
    hanging = sys.modules.pop("hanging")
    hanging.released.append(True)
    asyncio.run(hanging.value.stop_and_drain())


def test_the_page_explains_every_code_and_no_other():
    page = (ROOT / "docs/reference/doctor.md").read_text()
    assert sorted(re.findall(r"^### `(.*)`$", page, re.MULTILINE)) == sorted(code.value for code in Code)


def test_every_code_but_that_of_the_command_line_has_a_case_here():
    """exit-drain-missing is about the process as a whole: tests/unit/cli/test_cli_doctor.py has it."""
    seen = {code for _, _, expected in PAIRS.values() for code, _ in expected}
    seen |= {"drained-logger-reused", "probe-not-intact", "exit-drain-missing"}
    assert seen == {code.value for code in Code}


def test_the_gravest_findings_come_first(found):
    report = found("make(sealed={'state_dir': None, 'key_env_var': 'NOWHERE'}, plugins={'allowlist': ['sealed']})")
    assert [finding.severity for finding in report.findings] == [Severity.ERROR, Severity.WARNING, Severity.NOTE]
