"""The examination: build the logger, probe it, and hold it against everything that is known to go wrong."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Final

from fapilog_tamper.pipeline import host
from fapilog_tamper.pipeline.doctor import given, running, sealing
from fapilog_tamper.pipeline.doctor.case import SINK, name_of, normal, open_case
from fapilog_tamper.pipeline.doctor.findings import Checked, Code, Finding, Report, Severity
from fapilog_tamper.pipeline.doctor.probing import probe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fapilog_tamper.pipeline.doctor.case import Case
    from fapilog_tamper.pipeline.doctor.probing import Probed

__all__ = ["examine"]

_ORDER: Final = {severity: number for number, severity in enumerate(Severity)}


def examine(settings: str | None = None, *, timeout: float = 30.0) -> Report:
    """Examine a logger of fapilog: whether what is logged is sealed, and can be verified.

    Writes probe events into the log that it checks, and drains the logger. Meant for a process of its own: fapilog is
    watched meanwhile, and stdout is kept from its sinks.

    Args:
        settings: `module:attribute` with settings, a logger, or a callable that returns one of them. None: the
            environment, as `get_logger()` takes it.
        timeout: seconds that draining may take.

    Raises:
        ConfigError: there is no such module or attribute, or nothing in it that can be examined.
        ExamineError: the logger cannot be made or drained, or the log cannot be read.
    """
    with host.watching() as watched, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        case = open_case(settings, watched)
        probed = probe(case, timeout)
        warned = [str(one.message) for one in caught if issubclass(one.category, RuntimeWarning)]
        findings = list(_findings(case, watched, probed, warned))
    findings.sort(key=lambda finding: _ORDER[finding.severity])
    return Report(tuple(dict.fromkeys(findings)), _checked(case, probed), tuple(_not_checked(case, probed)))


def _findings(case: Case, watched: host.Watched, probed: Probed, warned: list[str]) -> Iterator[Finding]:
    failures = [
        (str(said.get("plugin", "?")), str(said.get("error", "")))
        for said in watched.said
        if said.get("message") in {"plugin load failed", "plugin start failed"}
    ]
    ours = next((error for name, error in failures if normal(name) == SINK), "")
    yield from given.check_plugins(case)
    options = list(given.check_options(case))
    yield from options
    yield from given.check_names(case)
    yield from given.check_variables(case)
    yield from running.check_sink(case, ours)
    if ours and not options and "External plugins disabled" not in ours:
        what, fix = f"The sealed sink cannot be made: {ours}", "correct the option"
        yield Finding(Code.BAD_OPTION, Severity.ERROR, what, "fapilog leaves it out without a word.", fix)
    yield from running.check_loading(failures)
    yield from running.check_reuse(case)
    yield from sealing.check_key(case)
    yield from sealing.check_writes(watched, probed)
    yield from sealing.check_probes(case, watched, probed)
    for check in (
        running.check_queue,
        running.check_serialized,
        running.check_breaker,
        running.check_routing,
        running.check_filters,
        running.check_exit,
        running.check_enricher,
        sealing.check_folder,
    ):
        yield from check(case)
    yield from sealing.check_inner(warned)


def _checked(case: Case, probed: Probed) -> Checked:
    options = case.log()
    key = None if probed.key is None else probed.key.key
    names = [
        tuple(name_of(one) for one in plugins) for plugins in (case.sinks, case.enrichers, case.redactors, case.filters)
    ]
    outcomes = [report.outcome.value for report in probed.reports]
    return Checked(
        configuration=case.source,
        logger=f"{host.trait(case.logger, 'name')} ({'async' if case.is_async else 'sync'})",
        sinks=names[0],
        enrichers=names[1],
        redactors=names[2],
        filters=names[3],
        folder=None if options is None else str(options.directory.absolute()),
        stream=None if options is None else ", ".join(probed.streams) or options.filename_prefix,
        key_id=None if key is None else key.key_id,
        sent=probed.sent,
        found=probed.found,
        verification=next((one for one in outcomes if one != "intact"), "intact") if outcomes else None,
    )


def _not_checked(case: Case, probed: Probed) -> Iterator[str]:
    if case.made is None:
        yield "the settings: the logger was made before anybody looked"
    elif case.made.asked.get("settings") is not None and case.given is None:
        yield "names that fapilog ignores: it is not known what the settings were made from"
    if case.sealed is None and case.integrity is not None:
        yield "what the sinks stored: fapilog-tamper verify --records verifies it"
    if probed.opaque:
        yield f"{probed.opaque} new entries that a processor made unreadable"
