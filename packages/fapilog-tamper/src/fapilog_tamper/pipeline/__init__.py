"""Sealed logging inside the pipeline of fapilog: the plugins `sealed` and `integrity`, and what they need there.

Floors, from the ground: `config` (what both plugins are told) · `host` (all that we use of fapilog and that is not
public), `options` (what the sink is told) · `journal` (the sealed log of a sink), `forwarding` (its inner sink),
`loops` (the end of event loops), `chain` (the state of an enricher), `draining` (the end of a process) ·
`sink`, `enricher` · `loggers` · `doctor`.
"""
