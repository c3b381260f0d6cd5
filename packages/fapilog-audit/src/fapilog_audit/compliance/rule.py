"""A rule of a framework, and which rules of a table are broken.

A table says which field, what must hold of it, what to say where it does not, and the clause that asks for it. Where no
clause does, the rule is ours and says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Generic, Literal, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from fapilog.core.plugin_config import ValidationIssue

__all__ = ["OUR_OWN", "Rule", "Severity", "find_broken"]

Subject = TypeVar("Subject")
Severity = Literal["error", "warning"]

OUR_OWN: Final = "our own rule; no clause"


@dataclass(frozen=True, slots=True)
class Rule(Generic[Subject]):
    """What must hold of one field.

    Attributes:
        field: the field that an issue names.
        holds: whether all is well.
        message: what to say where it is not, behind the name of the field.
        clause: what asks for it, as the framework counts its clauses, or `OUR_OWN`.
        severity: "error" where the framework asks for it plainly and the policy can give it, else "warning".
    """

    field: str
    holds: Callable[[Subject], bool]
    message: str
    clause: str = OUR_OWN
    severity: Severity = "error"

    @property
    def text(self) -> str:
        """What to say of a subject of which the rule does not hold, with the clause."""
        return f"{self.message} [{self.clause}]"

    def issue(self) -> ValidationIssue:
        """Return the issue of a subject of which the rule does not hold, in the words of fapilog."""
        # fapilog takes a third of a second to import, and a trail that validates its policy needs nothing of it.
        from fapilog.core.plugin_config import ValidationIssue

        return ValidationIssue(field=self.field, message=self.text, severity=self.severity)


def find_broken(rules: Iterable[Rule[Subject]], subject: Subject) -> Iterator[Rule[Subject]]:
    """Yield the first broken rule of each field: those of a framework stand before the general ones."""
    found: set[str] = set()
    for rule in rules:
        if rule.field not in found and not rule.holds(subject):
            found.add(rule.field)
            yield rule
