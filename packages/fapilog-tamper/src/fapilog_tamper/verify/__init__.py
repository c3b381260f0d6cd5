"""The verifier: reads a sealed log, writes nothing, and says exactly what holds.

Floors, from the ground: `report` (codes and verdict) · `source` (bytes) · `reseal`, `control`, `deep`, `tags` · `lines`
(the checks on a line) · `segment` · `parallel` · `inventory` (what there is) · `lookup`, `claims`, `stream`, `ends`,
`matching` · `scope` (a folder) · `log` (the call) · `verifier` (the same for programs).
"""
