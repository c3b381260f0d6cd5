"""What fapilog hides: builds a logger as its user would, sends probes through it, and reports what is wrong.

Floors, from the ground: `findings` · `case` (the logger, and how it came to be) · `given` (checks of what was
configured), `running` (of what is in the logger), `probing` (events through it) · `sealing` (checks of what is in the
log) · `examine`.
"""
