"""What was configured, against what fapilog reads of it: it ignores what it does not know, without a word."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, get_args

from fapilog import Settings
from pydantic import BaseModel

from fapilog_tamper.errors import ConfigError
from fapilog_tamper.pipeline.doctor.case import ENRICHER, SINK, normal
from fapilog_tamper.pipeline.doctor.findings import Code, Finding, Severity

if TYPE_CHECKING:
    from fapilog_tamper.pipeline.doctor.case import Case

__all__ = ["check_names", "check_options", "check_plugins", "check_variables"]

_OURS: Final = {SINK: "sink_config", ENRICHER: "enricher_config"}
_PREFIX: Final = "fapilog_"
_ALLOW: Final = 'Settings(plugins={"allow_external": True})'
_ALLOW_ENV: Final = "FAPILOG_PLUGINS__ALLOW_EXTERNAL=true"
_IGNORED: Final = "fapilog ignores names that it does not know, so what is set there has no effect."
_CLOSE: Final = 0.75


def check_plugins(case: Case) -> Iterator[Finding]:
    """Check that fapilog may load what the settings list."""
    if case.settings is None:
        return
    for name, listed in ((SINK, case.wants_sink), (ENRICHER, ENRICHER in case.listed_enrichers)):
        if listed:
            yield from _admitted(case.settings.plugins, name)
    yield from _excluded(case, case.settings)


def _admitted(plugins: Settings.PluginsSettings, name: str) -> Iterator[Finding]:
    allowed = [normal(one) for one in plugins.allowlist]
    why = "fapilog leaves it out without a word" + (", and takes stdout in its place." if name == SINK else ".")
    if not plugins.enabled:
        text = f"{name} is listed, and plugins are switched off (plugins.enabled)."
        fix, env = 'Settings(plugins={"enabled": True, "allow_external": True})', "FAPILOG_PLUGINS__ENABLED=true"
        yield Finding(Code.PLUGIN_NOT_ALLOWED, Severity.ERROR, text, why, fix, env)
    elif allowed and name not in allowed:
        text = f"{name} is listed, and is not in plugins.allowlist, which names all that may be loaded."
        fix = f"{_ALLOW} without an allowlist, or add {name!r} to it"
        yield Finding(Code.PLUGIN_NOT_ALLOWED, Severity.ERROR, text, why, fix, _ALLOW_ENV)
    elif not allowed and not plugins.allow_external:
        text = f"{name} is listed, and plugins that do not come with fapilog are not allowed."
        yield Finding(Code.PLUGIN_NOT_ALLOWED, Severity.ERROR, text, why, _ALLOW, _ALLOW_ENV)
    if name in (normal(one) for one in plugins.denylist):
        text = f"{name} is listed, and plugins.denylist forbids it."
        yield Finding(Code.PLUGIN_DENIED, Severity.ERROR, text, why, f"take {name!r} out of plugins.denylist")


def _excluded(case: Case, settings: Settings) -> Iterator[Finding]:
    """Find the plugins that an allowlist for ours shuts out: it is the list of everything that is loaded."""
    allowed = {normal(one) for one in settings.plugins.allowlist}
    if not allowed:
        return
    core = settings.core
    wanted = {
        "sink": () if case.instances_given else core.sinks,
        "enricher": core.enrichers,
        "redactor": core.redactors if core.enable_redactors else (),
        "processor": core.processors,
        "filter": core.filters or (() if core.log_level == "DEBUG" else ("level",)),
    }
    left_out = [
        f"{kind} {name}"
        for kind, names in wanted.items()
        for name in names or ()
        if normal(name) not in {*allowed, *_OURS}
    ]
    if left_out:
        yield Finding(
            Code.ALLOWLIST_EXCLUDES,
            Severity.WARNING,
            f"plugins.allowlist shuts out {', '.join(left_out)}.",
            "An allowlist also holds for what comes with fapilog: without redactors, secrets are logged as they are.",
            f"{_ALLOW} without an allowlist, or add them to it",
            _ALLOW_ENV,
        )


def check_options(case: Case) -> Iterator[Finding]:
    """Check that our plugins take the options that they would be given."""
    for parse in (case.sink_options, case.enricher_options):
        try:
            parse()
        except ConfigError as error:
            code = Code.UNKNOWN_OPTION if "has no option" in error.message else Code.BAD_OPTION
            why = "The plugin cannot be made with it; fapilog leaves it out without a word."
            yield Finding(code, Severity.ERROR, error.message, why, error.hint)


def check_names(case: Case) -> Iterator[Finding]:
    """Check that somebody reads what the settings were given."""
    if case.given is not None:
        for path, near in _unread(Settings, case.given, ()):
            yield _unread_name(path, near, case)
    if case.settings is not None:
        for group, listed in (("sink_config", case.listed_sinks), ("enricher_config", case.listed_enrichers)):
            yield from _extra(case.settings, group, listed)


def check_variables(case: Case) -> Iterator[Finding]:
    """Check that somebody reads the environment variables of fapilog."""
    read = _variables_of_keys(case)
    for variable, text in sorted(os.environ.items()):
        name = variable.lower()
        if not name.startswith(_PREFIX) or variable in read:
            continue
        path = tuple(name.removeprefix(_PREFIX).split("__"))
        if len(path) == 1 and path[0] not in Settings.model_fields:
            meant = _squashed().get(path[0].replace("_", ""))
            if meant is not None:
                yield _unread_variable(variable, meant)
        else:
            # Groups that are no settings are read elsewhere (FAPILOG_FILE__…), unless one is spelled wrong.
            for unread, near in _unread(Settings, _nested(path, text), ()):
                if unread[0] in Settings.model_fields or near:
                    yield _unread_variable(variable, near and (*unread[:-1], near), unread)


def _unread(
    kind: type[BaseModel], given: Mapping[str, Any], above: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the names in `given` that a model has not, each with the nearest one that it has."""
    known = {field.alias or name: field for name, field in kind.model_fields.items()}
    for name, value in given.items():
        path = (*above, str(name))
        if str(name).startswith("_"):
            # What the builder of fapilog tells itself of presets.
            continue
        if name not in known:
            near = difflib.get_close_matches(str(name).lower(), known, n=1, cutoff=_CLOSE)
            yield path, near[0] if near else ""
            continue
        inner = _model_of(known[name].annotation)
        if inner is None:
            continue
        for one in value if isinstance(value, list | tuple) else (value,):
            if isinstance(one, Mapping):
                yield from _unread(inner, one, path)


def _model_of(annotation: object) -> type[BaseModel] | None:
    """Return the model that a field holds, one or a list of them; None where it holds something else."""
    for one in (annotation, *get_args(annotation)):
        if isinstance(one, type) and issubclass(one, BaseModel):
            return None if one.model_config.get("extra") == "forbid" else one
    return None


def _unread_name(path: tuple[str, ...], near: str, case: Case) -> Finding:
    place = ".".join(path)
    if fix := _ours(path):
        what, env = f"{place} is given, and nobody reads it.", _extra_env(_plugin_meant(path))
        return Finding(Code.CONFIG_UNDER_WRONG_KEY, Severity.ERROR, what, _IGNORED, fix, env)
    fix = _line((*path[:-1], near)) if near else f"take {place} out"
    if path[0] in _OURS.values() and normal(path[-1]) in case.listed_sinks + case.listed_enrichers:
        fix = _line((path[0], "extra", normal(path[-1])))
    what = f"{place} is given, and fapilog has no such setting."
    return Finding(Code.CONFIG_UNDER_WRONG_KEY, Severity.WARNING, what, _IGNORED, fix)


def _unread_variable(variable: str, meant: tuple[str, ...] | str, path: tuple[str, ...] = ()) -> Finding:
    name = f"FAPILOG_{'__'.join(meant).upper()}=…" if meant else ""
    fix, severity = "take the variable out", Severity.WARNING
    if path and (ours := _ours(path)):
        fix, name, severity = ours, _extra_env(_plugin_meant(path)), Severity.ERROR
    elif meant:
        fix = f"rename it to {name.removesuffix('=…')}"
    what = f"The variable {variable} is set, and fapilog has no such setting."
    return Finding(Code.CONFIG_UNDER_WRONG_KEY, severity, what, _IGNORED, fix, name)


def _extra(settings: Settings, group: str, listed: list[str]) -> Iterator[Finding]:
    """Check the names under `extra`: fapilog makes the name of a plugin normal before it looks there, but not these."""
    config = getattr(settings, group)
    for name in config.extra:
        meant = normal(name)
        place = f"{group}.extra[{name!r}]"
        if name != meant:
            severity = Severity.ERROR if meant in _OURS else Severity.WARNING
            why = "The name is looked up in lower case with underscores; what stands under another is not delivered."
            what, fix = f"{place} is given, and nobody reads it.", _line((group, "extra", meant))
            yield Finding(Code.CONFIG_UNDER_WRONG_KEY, severity, what, why, fix, _extra_env(meant, group))
        elif name not in listed and _misses(name, group):
            fix, env = _ours((group, name)), _extra_env(_plugin_meant((group, name)))
            what = f"{place} is given, and no plugin of that name is listed."
            yield Finding(Code.CONFIG_UNDER_WRONG_KEY, Severity.ERROR, what, _IGNORED, fix, env)
    for name, owner in _OURS.items():
        if owner == group and name in config.extra and name in config.model_fields_set:
            what = f"{group}.{name} and {group}.extra[{name!r}] are both given; the first is not read."
            why = "fapilog takes the one for the other as a whole; nothing is merged."
            fix = f"put all options into {group}.extra[{name!r}]"
            yield Finding(Code.CONFIG_UNDER_WRONG_KEY, Severity.WARNING, what, why, fix, _extra_env(name))


def _misses(name: str, group: str) -> bool:
    """Tell whether a name under `extra` is meant for one of our plugins, and does not reach it."""
    meant = _plugin_meant((group, name))
    return meant != "" and (name != meant or _OURS[meant] != group)


def _plugin_meant(path: tuple[str, ...]) -> str:
    """Return which of our plugins a path speaks of, an empty text where of none."""
    for part in (normal(one) for one in path[1:]):
        if "integrity" in part or difflib.SequenceMatcher(None, part, ENRICHER).ratio() > _CLOSE:
            return ENRICHER
        if "seal" in part or "tamper" in part or difflib.SequenceMatcher(None, part, SINK).ratio() > _CLOSE:
            return SINK
    return ""


def _ours(path: tuple[str, ...]) -> str:
    """Return the line for options of our plugins, an empty text where the path is about something else."""
    if path[0] not in _OURS.values() or not (meant := _plugin_meant(path)):
        return ""
    return f'Settings({_OURS[meant]}={{"extra": {{"{meant}": {{…}}}}}})'


def _extra_env(plugin: str, group: str = "") -> str:
    """Return the variable with the options of a plugin."""
    owner = group or _OURS[plugin]
    return f"FAPILOG_{owner.upper()}__EXTRA='{{\"{plugin}\": {{…}}}}'"


def _line(path: tuple[str, ...]) -> str:
    """Return the line that gives a setting by its path."""
    text = "…"
    for name in reversed(path[1:]):
        text = f'{{"{name}": {text}}}'
    return f"Settings({path[0]}={text})"


def _nested(path: tuple[str, ...], text: str) -> dict[str, Any]:
    try:
        value: Any = json.loads(text)
    except ValueError:
        value = text
    for name in reversed(path):
        value = {name: value}
    return dict(value)


def _squashed() -> dict[str, tuple[str, ...]]:
    """Return the settings by what is left of their names without underscores, and those of `core` by their own name."""
    found: dict[str, tuple[str, ...]] = {}
    for group, field in Settings.model_fields.items():
        inner = _model_of(field.annotation)
        for name in () if inner is None else inner.model_fields:
            found[f"{group}{name}".replace("_", "")] = (group, name)
            if group == "core":
                found.setdefault(name.replace("_", ""), (group, name))
    return found


def _variables_of_keys(case: Case) -> set[str]:
    """Return the variables that hold keys, which may have any name."""
    names = {"FAPILOG_TAMPER_KEY"}
    for parse in (case.sink_options, case.enricher_options):
        try:
            options = parse()
        except ConfigError:
            continue
        if options is not None:
            names.add(options.key_env_var)
            names.update(
                str(uri).partition(":")[2].partition("?")[0]
                for uri in (options.key, *options.old_keys)
                if isinstance(uri, str) and uri.startswith("env:")
            )
    return names | {f"{name}_FILE" for name in names}
