"""The application: its commands and the options that stand before them."""

from typing import Annotated

import typer

from fapilog_tamper.cli.doctor import doctor
from fapilog_tamper.cli.export_public import export_public
from fapilog_tamper.cli.head import head
from fapilog_tamper.cli.inspect import inspect
from fapilog_tamper.cli.keygen import keygen
from fapilog_tamper.cli.output import EXAMPLES, write_stdout
from fapilog_tamper.cli.restore import restore
from fapilog_tamper.cli.rotate_key import rotate_key
from fapilog_tamper.cli.seal import seal
from fapilog_tamper.cli.verify import verify

__all__ = ["app"]

app = typer.Typer(
    name="fapilog-tamper",
    no_args_is_help=True,
    rich_markup_mode=None,  # a help text can be pasted and searched, and is the same in a pipe
    pretty_exceptions_enable=False,  # locals may hold key material
    context_settings=EXAMPLES,
)


def _version(asked: bool) -> None:  # noqa: FBT001 (typer calls it)
    if asked:
        from importlib.metadata import version

        write_stdout(f"fapilog-tamper {version('fapilog-tamper')}\n")
        raise typer.Exit


@app.callback()
def _options(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Write sealed logs, verify them, look into them, and make keys for them.

    \b
    A first round:
      fapilog-tamper keygen --algorithm HMAC-SHA256 --kid audit-2026 -o audit.jwk
      fapilog-tamper seal --key file:audit.jwk -d logs/ < events.jsonl
      fapilog-tamper inspect logs/
      fapilog-tamper verify logs/ --key file:audit.jwk

    \b
    Exit codes:
      0    intact, or done
      1    tampering found
      2    usage: an option, path or key that cannot work
      3    not everything could be checked, read or stored
      130  stopped with Ctrl-C; seal: 143 by SIGTERM
    """  # noqa: D301 (the \b is for the help, which keeps the lines of such a paragraph)


app.command()(keygen)
app.command()(seal)
app.command()(verify)
app.command()(inspect)
app.add_typer(head)
app.command("rotate-key")(rotate_key)
app.command()(restore)
app.command("export-public")(export_public)
app.command()(doctor)
