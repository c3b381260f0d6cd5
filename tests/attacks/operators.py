"""All attacks, as data. `applicable` lists an attack's cells: situation, shape and what must come out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attacks import on_documents, on_files, on_keys, on_lines
from support.logs import SHAPES, SITUATIONS, Shape, Situation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from attacks.model import Attack, Verdict

ATTACKS: tuple[Attack, ...] = (*on_lines.ATTACKS, *on_keys.ATTACKS, *on_documents.ATTACKS, *on_files.ATTACKS)


def applicable(attack: Attack) -> Iterator[tuple[Situation, Shape, Verdict]]:
    """Yield the situations and shapes in which an attack can be made."""
    for situation in SITUATIONS:
        for shape in SHAPES:
            verdict = attack.expect(situation, shape)
            if verdict is not None:
                yield situation, shape, verdict
