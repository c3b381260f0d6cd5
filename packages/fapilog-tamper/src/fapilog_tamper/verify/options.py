"""What a caller asks of a verification beside paths and keys."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["VerifyOptions"]


@dataclass(frozen=True, slots=True)
class VerifyOptions:
    """The options of `verify_path`, which explains each."""

    require_manifests: bool = False
    require_end: bool = False
    stream: str | None = None
    deep: bool = False
    export: bool = False
    jobs: int = 1
