"""What is sealed: the key, the folder of the log, and what became of the probes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from fapilog_tamper.errors import ConfigError
from fapilog_tamper.layout import is_segment_name, parse_segment_name, plain_name
from fapilog_tamper.pipeline.doctor.case import SINK, key_files, key_state, state_folder
from fapilog_tamper.pipeline.doctor.findings import Code, Finding, Severity
from fapilog_tamper.pipeline.doctor.running import filtered_levels, unrouted_levels
from fapilog_tamper.verify.report import HINTS, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fapilog_tamper.pipeline import host
    from fapilog_tamper.pipeline.config import TamperConfig
    from fapilog_tamper.pipeline.doctor.case import Case
    from fapilog_tamper.pipeline.doctor.probing import Probed
    from fapilog_tamper.pipeline.options import SinkOptions

__all__ = ["check_folder", "check_inner", "check_key", "check_probes", "check_writes", "usable_options"]


def usable_options(case: Case) -> Iterator[tuple[str, TamperConfig]]:
    """Yield our plugins that are configured, with their options, as far as these can work."""
    for what, parse in (("sealed sink", case.sink_options), ("integrity enricher", case.enricher_options)):
        try:
            options = parse()
        except ConfigError:
            continue
        if options is not None:
            yield what, options


def check_key(case: Case) -> Iterator[Finding]:
    """Check that our plugins are switched on, and have a key."""
    for plugin, options in usable_options(case):
        if not options.enabled:
            what, fix = (
                f"The {plugin} is not enabled.",
                "enabled=True; an object of TamperConfig is off unless it says so",
            )
            yield Finding(Code.NOT_ENABLED, Severity.ERROR, what, "Events are stored unsealed.", fix)
            continue
        if plugin == "integrity enricher" and case.sealed is not None:
            # The seal of the sink is the proof.
            continue
        state = key_state(options)
        if state.key is not None:
            continue
        stored = "No event is stored" if plugin == "sealed sink" else "Events are marked as unsealed"
        fix, env = "do what the message says", ""
        if state.absent:
            fix = "fapilog-tamper keygen --algorithm HMAC-SHA256 --kid NAME -o FILE; then key='file:FILE'"
            by_variable = options.key is None and options.key_file_path is None
            env = f'{options.key_env_var}="$(cat FILE)"' if by_variable else ""
        code = Code.NO_KEY if state.absent else Code.BAD_KEY
        yield Finding(code, Severity.ERROR, f"The {plugin} has no usable key: {state.trouble}", f"{stored}.", fix, env)


def check_writes(watched: host.Watched, probed: Probed) -> Iterator[Finding]:
    """Report what the sealed log itself refused."""
    if not probed.could_be_sealed:
        return
    failures = list(dict.fromkeys(text for name, text in watched.failed if name == SINK))
    for text in failures[:1]:
        what = f"The sealed log refused {len(probed.sent) - len(probed.found)} of {len(probed.sent)} probes: {text}"
        fix = "do what the message says; then examine again"
        yield Finding(Code.WRITE_FAILED, Severity.ERROR, what, "fapilog prints such events to stderr, unsealed.", fix)


def check_probes(case: Case, watched: host.Watched, probed: Probed) -> Iterator[Finding]:
    """Check that every probe is in the log, and that the log verifies."""
    refused = any(name == SINK for name, _ in watched.failed)
    lost = [level for level in probed.sent if level not in {*probed.found, *_excused(case)}]
    if lost and probed.could_be_sealed and not refused and probed.opaque < len(lost):
        others = [one for one in case.filters if type(one).__module__.partition(".")[0] != "fapilog"]
        hint = f"filters: {', '.join(str(getattr(one, 'name', one)) for one in others)}" if others else "other plugins"
        said = f"fapilog dropped {probed.dropped} events. " if probed.dropped else ""
        yield Finding(
            Code.PROBE_LOST,
            Severity.ERROR,
            f"fapilog took a probe of level {', '.join(lost)}, and it is not in the sealed log.",
            f"{said}Events like it are lost without a word.",
            f"look at what events pass on their way ({hint})",
        )
    strangers = {str(path) for path in _strangers(case)}
    for report in probed.reports:
        findings = [one for one in report.findings if one.file is None or _path(case, one.file) not in strangers]
        if report.outcome is Outcome.INTACT or not findings:
            continue
        codes = ", ".join(f"{count} {code}" for code, count in Counter(one.code.value for one in findings).items())
        yield Finding(
            Code.PROBE_NOT_INTACT,
            Severity.ERROR,
            f"The log is {report.outcome.value} ({codes}): {findings[0].message}",
            "What was logged cannot be proved.",
            findings[0].hint or HINTS[findings[0].code],
        )


def check_folder(case: Case) -> Iterator[Finding]:
    """Check what lies beside the log."""
    options = case.log()
    if options is None:
        return
    strangers = [path.name for path in _strangers(case)]
    if strangers:
        yield Finding(
            Code.FOLDER_SHARED,
            Severity.ERROR,
            f"{options.directory} also holds files that are not of a sealed log: {', '.join(strangers[:3])}.",
            "A verifier reads them as a part of the log, and reports their lines as unsealed.",
            'Settings(sink_config={"extra": {"sealed": {"directory": "a folder of its own"}}})',
        )
    folder = options.directory.resolve()
    for path in key_files(options):
        if path.resolve().is_relative_to(folder):
            what = f"The key file {path} lies in the folder of the log."
            why = "Who can read both can write another log that verifies."
            yield Finding(Code.KEY_READABLE_WITH_LOG, Severity.WARNING, what, why, "keep the key where the log is not")
    if state_folder(options).resolve().is_relative_to(folder):
        yield Finding(
            Code.STATE_BESIDE_LOG,
            Severity.NOTE,
            f"The heads lie in {state_folder(options)}, beside the log.",
            "Who can cut the end off the log can put an older head beside it.",
            'Settings(sink_config={"extra": {"sealed": {"state_dir": "elsewhere"}}}); or fapilog-tamper head export',
        )


def check_inner(warned: list[str]) -> Iterator[Finding]:
    """Report an inner sink that does not take records."""
    for text in dict.fromkeys(warned):
        if text.startswith("sealed sink: the inner sink "):
            what = text.removeprefix("sealed sink: ").capitalize()
            why = "Records do not arrive where they are sent; the sealed log has them."
            yield Finding(Code.INNER_SINK_FAILING, Severity.WARNING, what, why, "check inner_sink and inner_config")


def _excused(case: Case) -> set[str]:
    """Return the levels that were meant to be dropped, or whose loss is another finding."""
    excused = set(unrouted_levels(case))
    for levels, _surely, _how in filtered_levels(case).values():
        excused |= levels
    if case.settings is not None and case.settings.observability.logging.sampling_rate < 1:
        excused |= {"DEBUG", "INFO"}
    return excused


def _strangers(case: Case) -> list[Path]:
    options = case.log()
    if options is None or not options.directory.is_dir():
        return []
    files = sorted(path for path in options.directory.iterdir() if path.is_file() and is_segment_name(path.name))
    return [path for path in files if parse_segment_name(plain_name(path.name)) is None]


def _path(case: Case, file: str) -> str:
    options: SinkOptions | None = case.log()
    path = Path(file)
    return str(path if options is None or path.parent == options.directory else options.directory / path.name)
