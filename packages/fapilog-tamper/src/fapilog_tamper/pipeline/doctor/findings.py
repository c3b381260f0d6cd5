"""What an examination finds: codes, findings, the report and its JSON form."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Final

__all__ = ["SCHEMA_VERSION", "Checked", "Code", "Finding", "Report", "Severity", "Verdict"]

SCHEMA_VERSION: Final = "1.0"


class Severity(StrEnum):
    """How grave a finding is.

    error: events are lost, not sealed, or cannot be verified. warning: they can be, under conditions. note: advice.
    """

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


class Verdict(StrEnum):
    """What the findings come to: no finding, none that is an error, or an error."""

    HEALTHY = "healthy"
    REMARKS = "remarks"
    FAULTY = "faulty"


class Code(StrEnum):
    """What is found; docs/reference/doctor.md explains each."""

    PLUGIN_NOT_ALLOWED = "plugin-not-allowed"
    PLUGIN_DENIED = "plugin-denied"
    ALLOWLIST_EXCLUDES = "allowlist-excludes"
    PLUGIN_FAILED = "plugin-failed"
    CONFIG_UNDER_WRONG_KEY = "config-under-wrong-key"
    UNKNOWN_OPTION = "unknown-option"
    BAD_OPTION = "bad-option"
    SINK_REPLACED = "sink-replaced"
    NO_SEALED_SINK = "no-sealed-sink"
    SINK_NOT_IN_SINKS = "sink-not-in-sinks"
    NOT_ENABLED = "not-enabled"
    NO_KEY = "no-key"
    BAD_KEY = "bad-key"
    WRITE_FAILED = "write-failed"
    PROBE_LOST = "probe-lost"
    PROBE_NOT_INTACT = "probe-not-intact"
    LEVELS_DROPPABLE = "levels-droppable"
    DROP_ON_FULL = "drop-on-full"
    SERIALIZE_IN_FLUSH = "serialize-in-flush"
    CIRCUIT_BREAKER_WITHOUT_FALLBACK = "circuit-breaker-without-fallback"
    ROUTING_DROPS = "routing-drops"
    FILTER_DROPS = "filter-drops"
    EXIT_DRAIN_MISSING = "exit-drain-missing"
    DRAINED_LOGGER_REUSED = "drained-logger-reused"
    ENRICHER_PROOF_BROKEN = "enricher-proof-broken"
    FOLDER_SHARED = "folder-shared"
    KEY_READABLE_WITH_LOG = "key-readable-with-log"
    STATE_BESIDE_LOG = "state-beside-log"
    INNER_SINK_FAILING = "inner-sink-failing"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        code: what kind it is.
        severity: how grave.
        what: what was seen, with names.
        why: what it leads to.
        fix: the line to change, or what to do.
        env: the same as environment variables, where settings can be given so.
    """

    code: Code
    severity: Severity
    what: str
    why: str
    fix: str
    env: str = ""


@dataclass(frozen=True, slots=True)
class Checked:
    """What was examined.

    Attributes:
        configuration: where it came from: `environment`, or module and attribute.
        logger: its name, and whether it is sync or async.
        sinks: the sinks of the logger, and so on with the other plugins.
        folder: where the sealed log is; None where there is none.
        stream: what its entries are called; the configured name where none was found.
        key_id: what the key is called; None without one.
        sent: the levels of the probes that were sent.
        found: the levels of those that are in the sealed log.
        verification: the outcome of verifying them; None where there was nothing to verify.
    """

    configuration: str
    logger: str
    sinks: tuple[str, ...]
    enrichers: tuple[str, ...]
    redactors: tuple[str, ...]
    filters: tuple[str, ...]
    folder: str | None
    stream: str | None
    key_id: str | None
    sent: tuple[str, ...]
    found: tuple[str, ...]
    verification: str | None


@dataclass(frozen=True, slots=True)
class Report:
    """The result of an examination; the gravest findings first."""

    findings: tuple[Finding, ...]
    checked: Checked
    not_checked: tuple[str, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """What the findings come to."""
        if not self.findings:
            return Verdict.HEALTHY
        return Verdict.FAULTY if self.count(Severity.ERROR) else Verdict.REMARKS

    @property
    def exit_code(self) -> int:
        """The exit code of the command line: 1 with an error, else 0."""
        return 1 if self.verdict is Verdict.FAULTY else 0

    def count(self, severity: Severity) -> int:
        """Return how many findings have a severity."""
        return sum(finding.severity is severity for finding in self.findings)

    def to_json(self) -> str:
        """Return the report as JSON, in ASCII: it may hold names that a terminal would obey."""
        members = {"schema_version": SCHEMA_VERSION, "verdict": self.verdict.value, **asdict(self)}
        return json.dumps(members, indent=2)
