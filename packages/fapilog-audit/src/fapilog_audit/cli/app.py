"""The application: its commands and the options that stand before them."""

from typing import Annotated

import typer

from fapilog_audit.cli.export import export
from fapilog_audit.cli.importing import import_old
from fapilog_audit.cli.policy import policy
from fapilog_audit.cli.query import query
from fapilog_audit.cli.retain import retain
from fapilog_audit.cli.show import show
from fapilog_audit.cli.stats import stats
from fapilog_audit.cli.tail import tail
from fapilog_audit.cli.verify import verify
from fapilog_tamper.cli.output import EXAMPLES, write_stdout

__all__ = ["app"]

app = typer.Typer(
    name="fapilog-audit",
    no_args_is_help=True,
    rich_markup_mode=None,  # as in fapilog-tamper
    pretty_exceptions_enable=False,  # locals may hold key material
    context_settings=EXAMPLES,
)


def _version(asked: bool) -> None:  # noqa: FBT001 (typer calls it)
    if asked:
        from importlib.metadata import version

        write_stdout(f"fapilog-audit {version('fapilog-audit')}\n")
        raise typer.Exit


@app.callback()
def _options(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Ask an audit trail, follow it, verify it, and hand it on.

    \b
    A first round:
      fapilog-audit tail -f
      fapilog-audit query --since today --level security
      fapilog-audit show 01a1ff01-fd42
      fapilog-audit verify --key file:audit.jwk

    \b
    Exit codes:
      0    intact, or done
      1    tampering found
      2    usage: an option, path, policy or key that cannot work
      3    not everything could be checked or read
      130  stopped with Ctrl-C
    """  # noqa: D301 (the \b is for the help, which keeps the lines of such a paragraph)


app.command()(query)
app.command()(tail)
app.command()(show)
app.command()(stats)
app.command()(verify)
app.command()(export)
app.add_typer(policy)
app.command()(retain)
app.command("import")(import_old)
