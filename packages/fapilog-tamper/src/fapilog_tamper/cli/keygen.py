"""`fapilog-tamper keygen`: a new key in a file that only its owner can read."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from fapilog_tamper.cli.output import errors_reported, parse_path, say
from fapilog_tamper.keys import Algorithm, KeyURI, generate_key, write_key_files

__all__ = ["keygen"]


def keygen(
    *,
    algorithm: Annotated[
        Algorithm,
        typer.Option(
            help="HMAC-SHA256: one shared secret, fast. Ed25519: a key pair; others verify without being able to sign."
        ),
    ],
    kid: Annotated[str, typer.Option(metavar="ID", help="The name of the key in log entries, audit-2026 for example.")],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="FILE", parser=parse_path, help="The file to write. An existing one stays."
        ),
    ],
) -> None:
    """Make a new key.

    The key is written to FILE as a JWK with mode 0600. An Ed25519 key also gets FILE.pub, the public half, which
    verifies and cannot sign. Existing files are never overwritten.

    \b
    Examples:
      fapilog-tamper keygen --algorithm HMAC-SHA256 --kid audit-2026 -o audit.jwk
      fapilog-tamper keygen --algorithm Ed25519 --kid audit-2026 -o audit.jwk
    """  # noqa: D301 (see app)
    with errors_reported():
        written = write_key_files(output, generate_key(algorithm, kid))
        say(f"wrote {written[0]}: {algorithm} key {kid}, mode 0600. Who has this file can write the log anew.")
        for public in written[1:]:
            say(f"wrote {public}: its public half, to hand out.")
        uri = KeyURI("file", str(written[-1]))
        say(f"next: fapilog-tamper verify PATH --key {shlex.quote(str(uri))}")
