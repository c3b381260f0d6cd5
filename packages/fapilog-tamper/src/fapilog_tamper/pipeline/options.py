"""What the sink is told: `SinkOptions`, the options of `TamperConfig` and those of fapilog's own rotating file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Self

from fapilog.core.types import OptionalRotationDurationField, OptionalSizeField
from pydantic import Field, field_validator, model_validator

from fapilog_tamper.errors import ConfigError, FormatError
from fapilog_tamper.pipeline.config import TamperConfig, parse_options
from fapilog_tamper.rotation import Rotation
from fapilog_tamper.writer.promise import Durability
from fapilog_tamper.writer.slots import check_own_stream

if TYPE_CHECKING:
    from fapilog_tamper.writer.packer import Compression

__all__ = ["OWN_FILES", "SinkOptions", "parse_sink_options"]

OWN_FILES: Final = "rotating_file"
"""The inner sink that means our own segment files."""

_RETENTION: Final = ("max_files", "max_total_bytes")
_FILE_SETTINGS: Final = frozenset(
    {"directory", "filename_prefix", "mode", "max_bytes", "interval_seconds", "compress_rotated", *_RETENTION}
)


class SinkOptions(TamperConfig):
    """The options of `SealedSink`.

    Attributes:
        inner_sink: where sealed records are sent beside the sealed log: the name of a sink, or a sink. `rotating_file`
            means the files of the sealed log and nothing else.
        inner_config: the settings of that sink; of `rotating_file`, the file settings below.
        directory: where the segments are put.
        filename_prefix: what the stream is called, and the segments begin with.
        mode: must be `json`.
        max_bytes: the size at which a segment is closed, `10 MB` or a number.
        interval_seconds: the age at which a segment is closed, `1h` or seconds; at midnight UTC unless set.
        manifest_path: a folder for a copy of every manifest.
        sign_manifests: must be True: an unsigned manifest of a keyed stream would be taken for a forged one.
        durability: what is promised of an event before the pipeline goes on; `written` unless set.
        timeout: seconds that an event waits for a disk that does not answer, before fapilog is told. It is kept in
            memory and written later; the events behind it do not wait so long again.
    """

    enabled: bool = True
    inner_sink: Any = OWN_FILES
    inner_config: Mapping[str, Any] = Field(default_factory=dict)
    directory: Path = Path("logs")
    filename_prefix: str = "fapilog"
    mode: Literal["json"] = "json"
    max_bytes: OptionalSizeField = 10 * 1024 * 1024
    interval_seconds: OptionalRotationDurationField = None
    max_files: int | None = None
    max_total_bytes: int | None = None
    manifest_path: Path | None = None
    sign_manifests: bool = True
    durability: Durability | None = None
    timeout: float = Field(default=5.0, gt=0, allow_inf_nan=False)

    @field_validator("directory", mode="before")
    @classmethod
    def _named_folder(cls, value: object) -> object:
        if value == "":
            raise ValueError("it is empty; write . for the working folder")
        return value

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if not self.sign_manifests:
            raise ValueError("sign_manifests cannot be False: unsigned, a manifest would be taken for a forged one")
        for name in _RETENTION:
            if getattr(self, name) is not None:
                raise ValueError(f"{name} would delete sealed segments, which reads as tampering. Leave it out")
        if self.durability is not None and self.fsync_on_write and self.durability != "synced":
            raise ValueError(f"fsync_on_write means durability synced, and durability is {self.durability}")
        return self

    @property
    def own_files(self) -> bool:
        """Whether the sealed log is all there is to write."""
        return isinstance(self.inner_sink, str) and _normal(self.inner_sink) == OWN_FILES

    @property
    def promise(self) -> Durability:
        """What is promised of an event."""
        return self.durability or ("synced" if self.fsync_on_write else "written")

    @property
    def rotation(self) -> Rotation:
        """When a segment is closed."""
        age = self.interval_seconds
        return Rotation(daily=age is None, max_bytes=self.max_bytes, max_age=age)

    @property
    def compression(self) -> Compression:
        """What closed segments are compressed with."""
        if isinstance(self.compress_rotated, str):
            return self.compress_rotated
        return "gzip" if self.compress_rotated else "none"


def parse_sink_options(config: object, given: Mapping[str, object]) -> SinkOptions:
    """Return the options of the sink; raises ConfigError as `parse_options` does."""
    options = parse_options(SinkOptions, "sealed sink", config, given)
    if options.own_files:
        files = _file_settings(options.inner_config)
        said = {name: getattr(options, name) for name in options.model_fields_set - {"inner_config"}}
        if options.compress_rotated is False:
            # fapilog's typed settings always say so, whatever the inner ones say.
            said.pop("compress_rotated", None)
        options = parse_options(SinkOptions, "sealed sink: inner_config", files, said)
    # What the log would refuse only when it is opened: the sizes of segments, names.
    _ = options.rotation
    try:
        check_own_stream(options.filename_prefix)
    except FormatError as error:
        raise ConfigError(f"sealed sink: filename_prefix: {error.message}", hint=error.hint) from None
    # A program may change its folder before the first event.
    places = {name: getattr(options, name) for name in ("directory", "state_dir", "manifest_path")}
    return options.model_copy(update={name: path.resolve() for name, path in places.items() if path is not None})


def _file_settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of rotating_file that are in `inner_config`, which may hold fapilog's own object for them."""
    inner = given.get("config")
    settings = dict(given)
    if is_dataclass(inner) and not isinstance(inner, type):
        settings = {field.name: getattr(inner, field.name) for field in fields(inner)}
    elif isinstance(inner, Mapping):
        settings = dict(inner)
    # Whether an event that cannot be stored in fapilog's envelope is dropped; here each can be.
    settings.pop("strict_envelope_mode", None)
    for name in settings:
        if name not in _FILE_SETTINGS:
            raise ConfigError(
                f"sealed sink: inner_config has no option {name!r}.",
                hint=f"It has {', '.join(sorted(_FILE_SETTINGS))}.",
            )
    return settings


def _normal(name: str) -> str:
    return name.replace("-", "_").lower()
