"""`fapilog-tamper export-public`: what an auditor needs to verify, and nothing that can sign."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from fapilog_tamper.cli.output import errors_reported, parse_path, say, write_file, write_stdout
from fapilog_tamper.errors import SealKeyError
from fapilog_tamper.keys import Algorithm, Keyring, VerifyingKey, format_trust_file, open_verifying_key

__all__ = ["export_public"]


def export_public(
    *,
    keys: Annotated[
        list[str], typer.Option("--key", metavar="URI", help="A key: env:VAR or file:PATH. May be given again.")
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", parser=parse_path, help="Write to a new file, not to stdout."),
    ] = None,
) -> None:
    """Write public keys as a trust file.

    The file is for verify --trust. Private and public Ed25519 keys are both taken; only the public half is written.
    The trust file can be narrowed by hand to streams and seqs.

    \b
    Examples:
      fapilog-tamper export-public --key file:audit.jwk -o trust.json
      fapilog-tamper export-public --key file:audit.jwk.pub --key env:OLD_KEY > trust.json
      fapilog-tamper verify logs/ --trust trust.json
    """  # noqa: D301 (see app)
    with errors_reported():
        text = format_trust_file(Keyring(_open_public(uri) for uri in keys))
        if output is None:
            write_stdout(text, "utf-8")
        else:
            write_file(output, text, new=True)
            say(f"wrote {output}. Next: fapilog-tamper verify PATH --trust {shlex.quote(str(output))}")


def _open_public(uri: str) -> VerifyingKey:
    key = open_verifying_key(uri)
    if key.algorithm is Algorithm.HMAC_SHA256:
        raise SealKeyError(
            f"key {key.key_id} is an HMAC-SHA256 key, one shared secret: it has no public half, and whoever can verify "
            "with it can also sign.",
            hint="Use Ed25519 where others verify, or give the secret to the verifier as a file of its own: --key.",
        )
    return key
