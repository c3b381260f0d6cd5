"""`fapilog-audit verify`: the verdict of fapilog-tamper about the folder of a trail."""

from pathlib import Path
from typing import Annotated

import typer

from fapilog_audit.cli.options import (
    DEFAULT_FOLDER,
    Folder,
    Form,
    JsonAlias,
    Keys,
    NoColor,
    Output,
    Trust,
    check_folder,
)
from fapilog_tamper.cli.output import Format, check_output, errors_reported, parse_path

__all__ = ["verify"]


def verify(  # noqa: PLR0913 (every option has a name)
    folder: Folder = DEFAULT_FOLDER,
    *,
    keys: Keys = None,
    trust: Trust = None,
    heads: Annotated[
        list[Path] | None,
        typer.Option(
            "--head",
            metavar="FILE",
            parser=parse_path,
            help="A head kept elsewhere; the log must reach it. Repeatable.",
        ),
    ] = None,
    require_manifests: Annotated[
        bool, typer.Option("--require-manifests", help="A segment without a manifest is undetermined.")
    ] = False,
    require_end: Annotated[
        bool, typer.Option("--require-end", help="A stream whose end no head attests is undetermined.")
    ] = False,
    stream: Annotated[str | None, typer.Option(metavar="NAME", help="Verify this stream only.")] = None,
    deep: Annotated[
        bool, typer.Option("--deep", help="Read every line even where a signed hash would do; look into payloads.")
    ] = False,
    jobs: Annotated[
        int, typer.Option("--jobs", metavar="N", min=0, help="Worker processes; 0 is one a processor.")
    ] = 1,
    form: Form = Format.TEXT,
    as_json: JsonAlias = False,
    output: Output = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only the verdict line, and no progress.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="All findings and notes, and every file.")] = False,
    no_color: NoColor = False,
) -> None:
    """Verify a trail.

    Says INTACT, TAMPERED or UNDETERMINED, and why, as fapilog-tamper verify does. Trust comes from --key and --trust,
    never from the trail. Without them a keyed trail is undetermined. Nothing is written where the trail lies, and it
    may be written to meanwhile.

    \b
    Examples:
      fapilog-audit verify --key file:audit.jwk
      fapilog-audit verify audit_logs/ --trust trust.json --require-end --jobs 0
      fapilog-audit verify audit_logs/ --key env:AUDIT_KEY --head kept/audit.chainstate -f json -o report.json

    \b
    Exit codes:
      0 intact   1 tampered   2 usage   3 not everything could be checked   130 Ctrl-C
    """  # noqa: D301 (see app)
    with errors_reported():
        from fapilog_tamper.cli.verify import deliver, run_verification

        check_folder(folder)
        if output is not None:
            check_output(output, [folder], [*(heads or ()), *([trust] if trust else ())])
        report, interrupted = run_verification(
            [folder],
            keys,
            trust,
            heads=heads,
            require_manifests=require_manifests,
            require_end=require_end,
            stream=stream,
            deep=deep,
            jobs=jobs,
            quiet=quiet,
            no_color=no_color,
        )
        deliver(
            report,
            interrupted=interrupted,
            form=Format.JSON if as_json else form,
            output=output,
            quiet=quiet,
            verbose=verbose,
            no_color=no_color,
        )
