"""The verifier: reads a sealed log, writes nothing, and says exactly what holds.

Floors, from the ground: `report` and `options` (codes, verdict, what is asked for), `records` (what left the log, back
to its lines) · `source` (bytes), `reseal`, `tags` · `control`, `verdict` · `spans` · `macs`, `deep` · `lines` (the
checks on a line) · `segment`, `lookup` · `stream`, `inventory` (what there is) · `claims`, `matching` · `ends` ·
`scope` (a folder), `parallel` · `log` (the call) · `verifier` (the same for programs), `overview` (what a log says of
itself).
"""
