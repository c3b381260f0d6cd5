"""The dimensions of the matrix, which of their values cannot meet, and its rows."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Final

from integration.matrix.pairwise import Choice, pairwise

PRESETS: Final = ("adaptive", "dev", "hardened", "minimal", "production", "serverless")
MASKING: Final = frozenset({"adaptive", "hardened", "production", "serverless"})
"""The presets that mask fields, too."""

ENDS: Final = ("drain", "plain", "exit", "exception", "own sigterm", "sigterm", "os._exit", "kill")
KILLED: Final = frozenset({"os._exit", "kill"})
"""The ends that run nothing any more."""

DIMENSIONS: Final = {
    "source": (*PRESETS, "typed", "extra", "environment"),
    "end": ENDS,
    "logger": ("sync", "async", "runtime", "sealed", "fastapi"),
    "redactors": (True, False),
    "workers": (1, 4),
    "concurrency": (1, 16),
    "serialized": (False, True),
    "algorithm": ("HMAC-SHA256", "Ed25519"),
    "fsync": (False, True),
}


@dataclass(frozen=True)
class Row:
    """One way to log and to end."""

    source: str = "typed"
    end: str = "drain"
    logger: str = "sync"
    redactors: bool = True
    workers: int = 1
    concurrency: int = 1
    serialized: bool = False
    algorithm: str = "HMAC-SHA256"
    fsync: bool = False

    @property
    def name(self) -> str:
        """What the tests call it."""
        flags = [name for name in ("redactors", "serialized", "fsync") if getattr(self, name)]
        return "-".join(
            (self.logger, self.source, self.end, f"{self.workers}x{self.concurrency}", self.algorithm, *flags)
        )

    @property
    def preset(self) -> str | None:
        """The preset of fapilog that it uses."""
        return self.source if self.source in PRESETS else None

    @property
    def masks_fields(self) -> bool:
        """Whether passwords are masked, and not only those in addresses."""
        return self.redactors and self.source in MASKING

    def as_dict(self) -> dict[str, object]:
        """Return what `Row(**…)` takes."""
        return asdict(self)


def clash(one: Choice, other: Choice) -> bool:
    """Tell whether there is no such thing: a server is ended by signals, a with-block is always left by draining."""
    chosen = dict((one, other))
    logger, end = chosen.get("logger"), chosen.get("end")
    if logger == "fastapi":
        return end in {"drain", "plain", "exit", "exception", "own sigterm"}
    return logger == "runtime" and end == "plain"


def all_rows() -> list[Row]:
    """Return the rows of the matrix."""
    assert [field.name for field in fields(Row)] == list(DIMENSIONS)
    return [Row(**row) for row in pairwise(DIMENSIONS, clash)]  # type: ignore[arg-type]
