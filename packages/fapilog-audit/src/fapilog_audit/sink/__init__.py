"""`AuditSink`, the fapilog sink `audit`: what a service logs, in an audit trail.

`mapping` (what an entry of fapilog says, in the words of a trail) · `config` (what the sink is told) · `sharing` (the
one trail of the sinks that are told the same) · `plugin` (the sink). Only `plugin` knows fapilog.
"""
