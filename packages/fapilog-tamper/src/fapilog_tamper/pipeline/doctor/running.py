"""What runs: the plugins of the logger, and what becomes of events before they reach the sealed sink."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING, Any, Final

from fapilog.core.levels import get_all_levels, get_level_priority

from fapilog_tamper.pipeline import draining, host
from fapilog_tamper.pipeline.doctor.case import ENRICHER, SINK, name_of, normal
from fapilog_tamper.pipeline.doctor.findings import Code, Finding, Severity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fapilog_tamper.pipeline.doctor.case import Case

__all__ = [
    "PROTECTED",
    "check_breaker",
    "check_enricher",
    "check_exit",
    "check_filters",
    "check_loading",
    "check_queue",
    "check_reuse",
    "check_routing",
    "check_serialized",
    "check_sink",
    "filtered_levels",
    "unrouted_levels",
]

PROTECTED: Final = ("AUDIT", "SECURITY")
_FEW: Final = 100
"""fapilog never makes a protected queue smaller than this by itself."""

_LISTED: Final = 'Settings(core={"sinks": ["sealed"]}, plugins={"allow_external": True})'
_LISTED_ENV: Final = "FAPILOG_CORE__SINKS='[\"sealed\"]' FAPILOG_PLUGINS__ALLOW_EXTERNAL=true"


def check_sink(case: Case, said: str) -> Iterator[Finding]:
    """Check that a sealed sink runs; `said` is what fapilog said of it to itself."""
    if case.sealed is not None or case.was_drained:
        return
    running = ", ".join(name_of(sink) for sink in case.sinks) or "nothing"
    if case.wants_sink:
        listed = {normal(name_of(sink)) for sink in case.sinks} <= set(case.listed_sinks)
        place = f"the logger goes on with {running}" if listed else f"{running} took its place"
        why = f"Events are not sealed. fapilog said to itself: {said}" if said else "Events are not sealed."
        what = f"core.sinks names sealed, and the logger has no sealed sink: {place}."
        yield Finding(Code.SINK_REPLACED, Severity.ERROR, what, why, "mend the findings beside this one")
    elif place := _configured(case):
        preset = case.made.asked.get("preset") if case.made else None
        reason = f"the preset {preset} sets core.sinks" if preset else "core.sinks does not name it"
        what = f"The sealed sink is configured ({place}), and {reason}: the logger writes to {running}."
        fix = f"{_LISTED} instead of the preset, or get_sealed_logger(preset={preset!r})" if preset else _LISTED
        env = "" if preset else _LISTED_ENV
        yield Finding(Code.SINK_NOT_IN_SINKS, Severity.ERROR, what, "Events are not sealed.", fix, env)
    else:
        bound = case.integrity is not None
        yield Finding(
            Code.NO_SEALED_SINK,
            Severity.NOTE if bound else Severity.ERROR,
            f"Nothing asks for a sealed sink: the logger writes to {running}.",
            "Each event has a seal of its own, and nothing shows that one is missing at the end."
            if bound
            else "Events are not sealed.",
            _LISTED,
            _LISTED_ENV,
        )


def _configured(case: Case) -> str:
    """Return where options of a sealed sink are that nobody asks for, an empty text where nowhere."""
    if case.settings is None:
        return ""
    config = case.settings.sink_config
    if any(normal(name) == SINK for name in config.extra):
        return "sink_config.extra"
    if SINK in config.model_fields_set:
        return "sink_config.sealed"
    try:
        listed = json.loads(os.environ.get("FAPILOG_CORE__SINKS", "[]"))
    except ValueError:
        return ""
    named = isinstance(listed, list) and SINK in (normal(str(name)) for name in listed)
    return "FAPILOG_CORE__SINKS" if named and not case.instances_given else ""


def check_loading(failures: list[tuple[str, str]]) -> Iterator[Finding]:
    """Report the plugins, beside ours, that fapilog left out because they could not be loaded or started."""
    for name, error in failures:
        if normal(name) not in {SINK, ENRICHER}:
            what = f"The plugin {name} is not in the logger: {error}"
            why = "fapilog leaves out what it cannot make, without a word."
            fix = f"mend or take out {name!r}"
            yield Finding(Code.PLUGIN_FAILED, Severity.WARNING, what, why, fix)


def check_reuse(case: Case) -> Iterator[Finding]:
    """Look for loggers that ended and are given out again."""
    fix = "get_logger(reuse=False), or fapilog.clear_logger_cache() behind the drain; runtime() once in a process"
    why = "fapilog takes events for a logger that was drained, and drops them without a word."
    if case.was_drained:
        what = "The logger was drained before it was examined."
        yield Finding(Code.DRAINED_LOGGER_REUSED, Severity.ERROR, what, why, fix)
    elif case.spent:
        what = f"The cache of fapilog holds a logger that was drained: {', '.join(case.spent)}."
        yield Finding(Code.DRAINED_LOGGER_REUSED, Severity.WARNING, what, why, fix)


def check_queue(case: Case) -> Iterator[Finding]:
    """Check what the queue drops when it is full."""
    if case.sealed is None:
        return
    protected = set(host.trait(case.logger, "protected_levels") or ())
    open_levels = [level for level in PROTECTED if level not in protected]
    if open_levels:
        yield Finding(
            Code.LEVELS_DROPPABLE,
            Severity.WARNING,
            f"{' and '.join(open_levels)} not in core.protected_levels.",
            "A full queue drops these events like any other.",
            'Settings(core={"protected_levels": ["ERROR", "CRITICAL", "FATAL", "AUDIT", "SECURITY"]})',
            'FAPILOG_CORE__PROTECTED_LEVELS=\'["ERROR","CRITICAL","FATAL","AUDIT","SECURITY"]\'',
        )
    repeated = [level for level in ("ERROR", "CRITICAL") if level not in protected]
    if repeated and (host.trait(case.logger, "cached_error_dedupe_window") or 0) > 0:
        yield Finding(
            Code.LEVELS_DROPPABLE,
            Severity.WARNING,
            f"{' and '.join(repeated)} not in core.protected_levels.",
            "fapilog drops such events when one with the same message was logged a moment before.",
            'Settings(core={"protected_levels": ["ERROR", "CRITICAL", "FATAL", "AUDIT", "SECURITY"]})',
            'FAPILOG_CORE__PROTECTED_LEVELS=\'["ERROR","CRITICAL","FATAL","AUDIT","SECURITY"]\'',
        )
    room = getattr(host.trait(case.logger, "queue"), "protected_capacity", _FEW)
    if protected and room < _FEW:
        yield Finding(
            Code.LEVELS_DROPPABLE,
            Severity.WARNING,
            f"The queue for protected levels holds {room} events.",
            "Protected levels never wait for room: what does not fit is dropped at once.",
            'Settings(core={"protected_queue_size": 10000})',
            "FAPILOG_CORE__PROTECTED_QUEUE_SIZE=10000",
        )
    if host.trait(case.logger, "drop_on_full"):
        yield Finding(
            Code.DROP_ON_FULL,
            Severity.WARNING,
            "core.drop_on_full is True, which is fapilog's default.",
            "Events that are not of a protected level are dropped as soon as the queue is full.",
            'Settings(core={"drop_on_full": False, "backpressure_wait_ms": 1000})',
            "FAPILOG_CORE__DROP_ON_FULL=false",
        )


def check_serialized(case: Case) -> Iterator[Finding]:
    """Look for what is lost where fapilog makes bytes of events before sinks get them."""
    if case.settings is None or not case.settings.core.serialize_in_flush:
        return
    fix, env = 'Settings(core={"serialize_in_flush": False})', "FAPILOG_CORE__SERIALIZE_IN_FLUSH=false"

    def finding(severity: Severity, what: str, why: str) -> Finding:
        return Finding(Code.SERIALIZE_IN_FLUSH, severity, f"core.serialize_in_flush is on{what}", why, fix, env)

    deaf = [name_of(sink) for sink in case.sinks if not hasattr(sink, "write_serialized")]
    if deaf:
        why = "These sinks get nothing; fapilog counts the events as written."
        yield finding(Severity.ERROR, f", and {', '.join(deaf)} has no write_serialized.", why)
    if case.settings.sink_routing.enabled and case.settings.sink_routing.rules:
        why = "Every event is routed as INFO, whatever its level is."
        yield finding(Severity.ERROR, ", and so is sink_routing.", why)
    if case.settings.core.strict_envelope_mode:
        why = "Events with values that JSON does not have (Decimal, sets, bytes, …) are dropped."
        yield finding(Severity.ERROR, ", and so is core.strict_envelope_mode.", why)
    elif case.sealed is not None:
        why = "Sealed is what is left of events: not a number becomes null, and fields that enrichers add are left out."
        yield finding(Severity.NOTE, ".", why)


def check_breaker(case: Case) -> Iterator[Finding]:
    """Look for a circuit breaker that would keep events from the sealed sink."""
    if case.sealed is None or case.settings is None or not case.settings.core.sink_circuit_breaker_enabled:
        return
    fallback = case.settings.core.sink_circuit_breaker_fallback_sink
    if fallback is None or fallback not in [name_of(sink) for sink in case.sinks]:
        told = "no fallback sink is named" if fallback is None else f"the fallback {fallback} is none of its sinks"
        why = "After some failures fapilog skips the sink for a while: the events are lost without a word."
    else:
        told = f"its fallback is {fallback}"
        why = "After some failures fapilog skips the sink for a while: events are in the fallback, and not sealed."
    yield Finding(
        Code.CIRCUIT_BREAKER_WITHOUT_FALLBACK,
        Severity.WARNING,
        f"The circuit breaker is on for the sealed sink, and {told}.",
        why,
        'Settings(core={"sink_circuit_breaker_enabled": False})',
        "FAPILOG_CORE__SINK_CIRCUIT_BREAKER_ENABLED=false",
    )


def unrouted_levels(case: Case) -> dict[str, list[Any]]:
    """Return the levels whose events do not reach the sealed sink, with the sinks that they reach."""
    if case.settings is None or case.sealed is None:
        return {}
    routed = {
        level: host.sinks_for_level(case.settings, case.sinks, _as_routed(case, level)) for level in _levels(case)
    }
    return {level: sinks for level, sinks in routed.items() if not _holds(sinks, case)}


def _as_routed(case: Case, level: str) -> str:
    return "INFO" if case.settings is not None and case.settings.core.serialize_in_flush else level


def _levels(case: Case) -> list[str]:
    levels = sorted(get_all_levels(), key=get_level_priority)
    return [level for level in levels if get_level_priority(level) >= case.threshold()]


def _holds(sinks: list[Any], case: Case) -> bool:
    return any(sink is case.sealed or host.trait(sink, "sinks") for sink in sinks)


def check_routing(case: Case) -> Iterator[Finding]:
    """Look for levels that are routed past the sealed sink."""
    unrouted = unrouted_levels(case)
    lost = [level for level, sinks in unrouted.items() if not sinks]
    past = [level for level, sinks in unrouted.items() if sinks]
    fix = 'Settings(sink_routing={…, "fallback_sinks": ["sealed"]}), and "sealed" in the rules of these levels'
    env = "FAPILOG_SINK_ROUTING__FALLBACK_SINKS='[\"sealed\"]'"
    if lost:
        what = f"sink_routing sends {', '.join(lost)} to no sink."
        why = "A level without a rule is dropped without a word."
        yield Finding(Code.ROUTING_DROPS, Severity.ERROR, what, why, fix, env)
    if past:
        what = f"sink_routing sends {', '.join(past)} past the sealed sink."
        severity = Severity.ERROR if set(past) & set(PROTECTED) else Severity.WARNING
        yield Finding(Code.ROUTING_DROPS, severity, what, "Events of these levels are not sealed.", fix, env)


def filtered_levels(case: Case) -> dict[str, tuple[frozenset[str], bool, str]]:
    """Return the filters that drop events other than by a low level: which levels, whether surely, and how."""
    every = frozenset(get_all_levels())
    found: dict[str, tuple[frozenset[str], bool, str]] = {}
    for one in case.filters:
        name = name_of(one)
        levels = every - frozenset(host.trait(one, "always_pass") or ())
        rate = host.trait(one, "rate")
        if name == "level":
            gate = host.trait(one, "min_priority")
            low = frozenset(level for level in every if isinstance(gate, int) and get_level_priority(level) < gate)
            found[name] = (low, True, "its min_level is above them")
        elif name in {"sampling", "trace_sampling"} and isinstance(rate, int | float) and rate < 1:
            found[name] = (levels, True, f"it keeps {rate:.0%} of them")
        elif name == "adaptive_sampling":
            found[name] = (levels, False, "it keeps a part of them when there are many")
        elif name == "rate_limit" and host.trait(one, "overflow_action") != "mark":
            found[name] = (every, False, "it drops what comes too fast")
        elif name == "first_occurrence":
            found[name] = (every, False, "it drops what is said again within its window")
    return found


def check_filters(case: Case) -> Iterator[Finding]:
    """Look for filters that drop events of the levels for which a log is sealed."""
    if case.sealed is None:
        return
    rate = 1.0 if case.settings is None else case.settings.observability.logging.sampling_rate
    if rate < 1:
        what = f"observability.logging.sampling_rate is {rate:g}."
        why = "The other DEBUG and INFO events are dropped without a word."
        fix = 'Settings(observability={"logging": {"sampling_rate": 1.0}})'
        yield Finding(Code.FILTER_DROPS, Severity.WARNING, what, why, fix)
    for name, (levels, surely, how) in filtered_levels(case).items():
        hit = [level for level in PROTECTED if level in levels]
        if not hit:
            if levels and name != "level":
                what = f"The filter {name} drops events of other levels: {how}."
                why = "What it drops is not in the sealed log."
                yield Finding(Code.FILTER_DROPS, Severity.NOTE, what, why, f"core.filters without {name!r}")
            continue
        listed = ", ".join(f'"{level}"' for level in ("ERROR", "CRITICAL", "FATAL", *PROTECTED))
        passes = name in {"trace_sampling", "adaptive_sampling"}
        fix = (
            f'filter_config={{"{name}": {{"always_pass_levels": [{listed}]}}}}'
            if passes
            else f"core.filters without {name!r}"
        )
        yield Finding(
            Code.FILTER_DROPS,
            Severity.ERROR if surely else Severity.WARNING,
            f"The filter {name} drops {' and '.join(hit)} events: {how}.",
            "A filter does not know protected levels; what it drops is gone without a word.",
            f"Settings({fix})" if passes else fix,
        )


def check_exit(case: Case) -> Iterator[Finding]:
    """Check that the queue is drained when the process ends."""
    if case.sealed is None and case.integrity is None:
        return
    at_exit, by_signal = host.wanted_at_end()
    why = "fapilog's own exit hook loses what is in the queue when the process ends, without a word."
    if not draining.is_installed():
        what, fix = "No exit drain is installed (exit_drain is False).", "fapilog_tamper.install_exit_drain()"
        yield Finding(Code.EXIT_DRAIN_MISSING, Severity.WARNING, what, why, fix)
    elif not at_exit:
        what = "The environment switches the drain at exit off (core.atexit_drain_enabled)."
        env = "FAPILOG_CORE__ATEXIT_DRAIN_ENABLED=true"
        yield Finding(Code.EXIT_DRAIN_MISSING, Severity.WARNING, what, why, f"set {env}", env)
    if not by_signal and hasattr(signal, "SIGTERM") and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        what = "The environment switches signal handlers off, and nobody else handles SIGTERM."
        env = "FAPILOG_CORE__SIGNAL_HANDLER_ENABLED=true"
        lost = "SIGTERM ends the process, and what is in the queue is lost."
        yield Finding(Code.EXIT_DRAIN_MISSING, Severity.WARNING, what, lost, f"set {env}", env)


def check_enricher(case: Case) -> Iterator[Finding]:
    """Check that nothing changes what the integrity enricher sealed."""
    if case.integrity is None or case.sealed is not None:
        return
    later = [f"redactor {name_of(one)}" for one in case.redactors]
    later += [f"enricher {name_of(one)}" for one in case.enrichers if one is not case.integrity]
    if later:
        yield Finding(
            Code.ENRICHER_PROOF_BROKEN,
            Severity.ERROR,
            f"The integrity enricher seals events before they are changed by {', '.join(later)}.",
            "Records that these change do not verify.",
            'the sealed sink; or Settings(core={"enrichers": ["integrity"], "enable_redactors": False})',
            "FAPILOG_CORE__ENRICHERS='[\"integrity\"]' FAPILOG_CORE__ENABLE_REDACTORS=false",
        )
