"""`fapilog-audit policy check`: whether a policy can be used, and what its framework misses in it."""

import json
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from fapilog_audit.cli.options import Form, JsonAlias, NoColor, Output
from fapilog_audit.errors import ConfigError
from fapilog_tamper.cli.output import EXAMPLES, Exit, Format, errors_reported, fail, format_count, parse_path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.text import Text

    from fapilog_audit.compliance import DataHandlingSettings
    from fapilog_audit.policy import CompliancePolicy

__all__ = ["policy"]

policy = typer.Typer(
    name="policy", help="Look at policies.", no_args_is_help=True, rich_markup_mode=None, context_settings=EXAMPLES
)

_MOST: Final = 1 << 16
_TABLE: Final = "data_handling"
_STYLES: Final = {"error": "bold red", "warning": "yellow"}


@policy.callback()
def _policy() -> None:
    """Look at policies."""


@policy.command()
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", parser=parse_path, help="A policy, as .json or .toml.")],
    *,
    handling: Annotated[
        Path | None,
        typer.Option(
            "--data-handling",
            metavar="FILE",
            parser=parse_path,
            help="What the application says of its handling of data, as .json or .toml.",
        ),
    ] = None,
    form: Form = Format.TEXT,
    as_json: JsonAlias = False,
    output: Output = None,
    no_color: NoColor = False,
) -> None:
    """Check a policy against the rules of its framework.

    An error is what the framework asks for plainly, a warning what a reader must know. It is no legal advice. The file
    has the fields of a CompliancePolicy, at top level or in a table named policy; that of --data-handling has those of
    DataHandlingSettings, at top level or in a table named data_handling.

    \b
    Examples:
      fapilog-audit policy check policy.toml
      fapilog-audit policy check policy.toml --data-handling handling.json
      fapilog-audit policy check policy.json -f json | jq '.issues[] | select(.severity == "error")'

    \b
    Exit codes:
      0 no error, there may be warnings   2 an error in the policy, or no policy   130 Ctrl-C
    """  # noqa: D301 (see app)
    with errors_reported():
        from fapilog_audit.cli.tables import deliver_report
        from fapilog_audit.policy import load_policy

        loaded = load_policy(file)
        settings = None if handling is None else _load_handling(handling)
        ok, issues = _issues(loaded, settings)
        members: dict[str, object] = {"file": str(file), "ok": ok, "policy": loaded.to_dict(), "issues": issues}
        read = [file, *([handling] if handling else ())]
        given = Format.JSON if as_json else form
        lines = _lines(file, loaded, issues)
        deliver_report(members, lines, form=given, output=output, read=read, no_color=no_color)
        raise typer.Exit(Exit.DONE if ok else Exit.USAGE)


def _issues(loaded: "CompliancePolicy", settings: "DataHandlingSettings | None") -> tuple[bool, list[dict[str, str]]]:
    # This is what imports fapilog, whose type the result is.
    from fapilog_audit.compliance import AuditConfig, validate_audit_config

    result = validate_audit_config(AuditConfig(policy=loaded, data_handling=settings))
    found = [{"severity": one.severity, "field": one.field, "message": one.message} for one in result.issues]
    try:
        loaded.require_possible()
    except ConfigError as error:
        found.append({"severity": "error", "field": "encrypt_audit_logs", "message": error.message})
    return result.ok and all(one["severity"] != "error" for one in found), found


def _load_handling(path: Path) -> "DataHandlingSettings":
    from pydantic import ValidationError

    from fapilog_audit.compliance import DataHandlingSettings

    members = _read(path)
    try:
        return DataHandlingSettings.model_validate(members.get(_TABLE, members))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or _TABLE
        known = ", ".join(DataHandlingSettings.model_fields)
        fail(f"{path}: {where}: {first['msg']}.", f"It has {known}.")


def _read(path: Path) -> dict[str, Any]:
    from fapilog_tamper.verify.source import SourceError, read_small

    kind = "JSON" if path.suffix.lower() == ".json" else "TOML"
    try:
        text = read_small(path, _MOST).decode("utf-8-sig")
        found = json.loads(text) if kind == "JSON" else tomllib.loads(text)
    except SourceError as error:
        fail(f"{path} cannot be read: {error}.", "Give a file that may be read.")
    except (ValueError, RecursionError) as error:
        fail(f"{path} is not {kind}: {error}.", "Mend the file, or its name.")
    if not isinstance(found, dict):
        fail(f"{path} holds no table.", "Give the fields of DataHandlingSettings by name.")
    return found


def _lines(file: Path, loaded: "CompliancePolicy", issues: list[dict[str, str]]) -> "Iterator[Text]":
    from fapilog_audit.cli.tables import heading, plain

    errors = sum(one["severity"] == "error" for one in issues)
    counts = f"{format_count(errors, 'error')}, {format_count(len(issues) - errors, 'warning')}"
    yield heading(f"{file}: level {loaded.level}; {counts}", "bold red" if errors else "bold")
    if not loaded.enabled:
        yield plain("It is not enabled: nothing is recorded, and nothing was checked.")
    for one in sorted(issues, key=lambda one: one["severity"] != "error"):
        yield plain()
        yield heading(f"{one['severity']}  {one['field']}", _STYLES.get(one["severity"], "bold"))
        yield plain(f"  {one['message']}")
