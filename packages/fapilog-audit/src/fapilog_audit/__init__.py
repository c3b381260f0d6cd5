"""The audit trail on top of the sealed log of fapilog-tamper.

Nothing is here yet but the name: events, policies and the trail come with the releases that follow.
"""
