"""What both plugins are told: `TamperConfig`, and reading it in each of the ways in which fapilog and people give it.

A configuration can be made and checked anywhere: fapilog is not imported, and only `open_key` and `open_keyring` touch
keys.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Final, Literal, Self, TypeVar

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from fapilog_tamper.errors import ConfigError, PlainKeyError, SealKeyError
from fapilog_tamper.keys import Keyring, KeyURI, SigningKey, anchored_uri, open_signing_key
from fapilog_tamper.keys.base import Algorithm
from fapilog_tamper.payload import DEFAULT_LIMIT, MAX_LIMIT, MIN_LIMIT

__all__ = ["PLAIN_KEY_ID", "TamperConfig", "open_key", "open_keyring", "parse_options"]

PLAIN_KEY_ID: Final = "fapilog"
"""The key_id of key material that has none of its own, when nobody gave one."""

_ALGORITHMS: Final = {"hmac-sha256": "HMAC-SHA256", "sha256": "HMAC-SHA256", "ed25519": "Ed25519"}
_LOCAL: Final = frozenset({"env", "file"})
_UNSAID: Final = "sha256"
"""What fapilog's typed settings say of the algorithm when nobody said anything."""


class TamperConfig(BaseModel):
    """How events are sealed; for `SealedSink` and `IntegrityEnricher`.

    Give it to a plugin positionally or as `config=`; the same names may be given to a plugin as keywords, and as a dict
    under `sink_config.extra["sealed"]` and `enricher_config.extra["integrity"]`. There `enabled` is True unless it is
    said, in an object of this class it is False.

    Attributes:
        enabled: whether anything is sealed at all.
        algorithm: what the key must be used with; what the key says unless set. A plugin takes `sha256`, which
            fapilog's typed settings always send, for unset.
        key: a key URI (`env:VARIABLE`, `file:PATH`) or a signing key.
        key_source: where the key is, when `key` is not given: in an environment variable or in a file; `key_file_path`
            alone says that it is in that file.
        key_env_var: the variable with 32 bytes as base64url or hex, or a JWK; or `<variable>_FILE`, a file with them.
        key_file_path: the file.
        key_id: what the key is called in entries; a JWK says it, and other material is called `fapilog` unless set.
        old_keys: key URIs of earlier entries, where a stream is to go on under another key.
        state_dir: where heads and locks are put; `.fapilog` in the folder of the log unless set.
        fsync_on_write: an event is on the disk before the pipeline goes on.
        fsync_on_rotate: must be True: a manifest attests only what is on the disk.
        compress_rotated: compress closed segments: `gzip` (or True) or `zstd`.
        rotate_chain: begin a new chain, a stream of its own, with every segment (an enricher: with every start).
        verify_on_close: read each segment back when it is closed, and verify it.
        alert_on_failure: warn when that does not find it intact; else only the health check tells.
        max_payload: bytes of the largest event; larger ones are cut to fit.
        use_kms_signing: the key must be one of a key management service, and not a local one.
        exit_drain: drain the loggers of fapilog when the process ends, see `install_exit_drain`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True, populate_by_name=True)

    enabled: bool = False
    algorithm: Literal["HMAC-SHA256", "Ed25519"] = "HMAC-SHA256"
    key: str | SigningKey | None = None
    key_source: Literal["env", "file"] = Field(
        default="env", validation_alias=AliasChoices("key_source", "key_provider")
    )
    key_env_var: str = Field(default="FAPILOG_TAMPER_KEY", min_length=1)
    key_file_path: Path | None = None
    key_id: str = ""
    old_keys: tuple[str, ...] = ()
    state_dir: Path | None = Field(default=None, validation_alias=AliasChoices("state_dir", "chain_state_path"))
    fsync_on_write: bool = False
    fsync_on_rotate: bool = True
    compress_rotated: bool | Literal["gzip", "zstd"] = False
    rotate_chain: bool = False
    verify_on_close: bool = False
    alert_on_failure: bool = True
    max_payload: int = Field(default=DEFAULT_LIMIT, ge=MIN_LIMIT, le=MAX_LIMIT)
    use_kms_signing: bool = False
    exit_drain: bool = True

    @field_validator("algorithm", mode="before")
    @classmethod
    def _known_algorithm(cls, value: object) -> object:
        return _ALGORITHMS.get(value.lower(), value) if isinstance(value, str) else value

    @field_validator("key_source", mode="before")
    @classmethod
    def _known_source(cls, value: object) -> object:
        if isinstance(value, str) and value not in _LOCAL:
            raise ValueError(f"{value!r} is neither env nor file; give a key URI as key, such as awskms:…")
        return value

    @field_validator("old_keys", mode="before")
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @field_validator("compress_rotated", mode="before")
    @classmethod
    def _known_compression(cls, value: object) -> object:
        if not isinstance(value, bool) and value not in {"gzip", "zstd"}:
            raise ValueError(f"{value!r} is neither gzip nor zstd, nor True or False")
        return value

    @field_validator("fsync_on_rotate")
    @classmethod
    def _always_synced(cls, value: bool) -> bool:  # noqa: FBT001 (pydantic calls it)
        if not value:
            raise ValueError("False is not possible: a manifest attests only what is on the disk. Leave it out")
        return value

    @model_validator(mode="after")
    def _key_is_named_once(self) -> Self:
        if self.use_kms_signing and (not isinstance(self.key, str) or self.key.partition(":")[0] in _LOCAL):
            raise ValueError("use_kms_signing needs the key URI of a key management service as key")
        if self.key_source == "file" and self.key is None and self.key_file_path is None:
            raise ValueError("key_source is file, and key_file_path is not given")
        if self.key is not None and self.key_file_path is not None:
            raise ValueError("key and key_file_path are both given")
        return self


Options = TypeVar("Options", bound=TamperConfig)


def parse_options(kind: type[Options], plugin: str, config: object, given: Mapping[str, object]) -> Options:
    """Return the options of a plugin from what its constructor was called with.

    Args:
        kind: the options that the plugin has.
        plugin: its name, for messages.
        config: the positional argument or `config=`: None, a mapping, a pydantic model or a dataclass.
        given: the other keywords, which count before those in `config`.

    Raises:
        ConfigError: if there is an option that the plugin does not have, or one cannot work.
    """
    options = {**_members(config, plugin), **given}
    if options.get("algorithm") == _UNSAID:
        del options["algorithm"]
    known = _names(kind)
    for name in options:
        if name not in known:
            raise ConfigError(f"{plugin} has no option {name!r}.", hint=_nearest(name, known))
    try:
        return _anchored(kind.model_validate(_spelled_once(kind, options)))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "configuration"
        what = str(first["msg"]).removeprefix("Value error, ")
        raise ConfigError(f"{plugin}: {where}: {what}.", hint="Correct the option.") from None


def _anchored(options: Options) -> Options:
    """Return options with absolute paths: a program may change its folder before the first event."""
    places = {name: getattr(options, name) for name in ("key_file_path", "state_dir")}
    update: dict[str, Any] = {name: path.absolute() for name, path in places.items() if path is not None}
    if isinstance(options.key, str):
        update["key"] = anchored_uri(options.key)
    update["old_keys"] = tuple(anchored_uri(text) for text in options.old_keys)
    # Only what was given counts as given.
    return options.model_copy(update={name: value for name, value in update.items() if value != getattr(options, name)})


def open_key(config: TamperConfig) -> SigningKey:
    """Return the signing key that a configuration names.

    Raises:
        SealKeyError: if it cannot be found, read or used.
    """
    if config.key is not None and not isinstance(config.key, str):
        return config.key
    uri = KeyURI.parse(config.key) if config.key is not None else _source(config)
    asked = Algorithm(config.algorithm) if "algorithm" in config.model_fields_set else None
    uri = KeyURI(uri.scheme, uri.path, uri.key_id or config.key_id or None, uri.algorithm or asked)
    try:
        return open_signing_key(str(uri))
    except PlainKeyError:
        plain = KeyURI(uri.scheme, uri.path, uri.key_id or PLAIN_KEY_ID, uri.algorithm or Algorithm(config.algorithm))
        return open_signing_key(str(plain))


def open_keyring(config: TamperConfig) -> Keyring | None:
    """Return the keys of earlier entries, None where there are none."""
    try:
        return Keyring(config.old_keys) if config.old_keys else None
    except SealKeyError as error:
        raise SealKeyError(f"old_keys: {error.message}", hint=error.hint) from None


def _source(config: TamperConfig) -> KeyURI:
    if config.key_file_path is not None:
        return KeyURI("file", str(config.key_file_path))
    return KeyURI("env", config.key_env_var)


def _names(kind: type[BaseModel]) -> set[str]:
    names = set(kind.model_fields)
    for field in kind.model_fields.values():
        if isinstance(field.validation_alias, AliasChoices):
            names.update(str(choice) for choice in field.validation_alias.choices)
    return names


def _spelled_once(kind: type[BaseModel], options: Mapping[str, object]) -> dict[str, object]:
    """Return options under their own names; what fapilog calls otherwise gives way to it."""
    spelled = dict(options)
    for name, field in kind.model_fields.items():
        if isinstance(field.validation_alias, AliasChoices):
            choices = [str(choice) for choice in field.validation_alias.choices if choice in spelled]
            values = [spelled.pop(choice) for choice in choices]
            if values:
                spelled[name] = values[0]
    return spelled


def _members(config: object, plugin: str) -> dict[str, Any]:
    if config is None:
        return {}
    if isinstance(config, TamperConfig):
        return {name: getattr(config, name) for name in {*config.model_fields_set, "enabled"}}
    if isinstance(config, BaseModel):
        return {name: value for name, value in dict(config).items() if value is not None}
    if is_dataclass(config) and not isinstance(config, type):
        return {field.name: getattr(config, field.name) for field in fields(config)}
    if isinstance(config, Mapping):
        inner = config.get("config")
        return _members(inner, plugin) if inner is not None and len(config) == 1 else dict(config)
    raise ConfigError(
        f"{plugin} cannot be configured with a {type(config).__name__}.",
        hint="Give a TamperConfig, a dict or keywords.",
    )


def _nearest(name: str, known: set[str]) -> str:
    near = difflib.get_close_matches(str(name), known, n=1)
    return f"Did you mean {near[0]}?" if near else f"It has {', '.join(sorted(known))}."
