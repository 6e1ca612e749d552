"""Errors and warnings of one object, and the text in which istiod puts several of them."""

from __future__ import annotations

from collections.abc import Iterable


class Judgement:
    """Collects errors and warnings in order.

    istiod answers one error as it is and several as a counted list. A few of its checks make the counted list
    even for one error; `add_listed` is for those.
    """

    def __init__(self) -> None:
        self.errors: list[str] = []
        self.warnings: list[str] = []
        self._listed = False

    def add(self, *errors: str | None) -> None:
        self.errors += [error for error in errors if error is not None]

    def add_listed(self, *errors: str) -> None:
        self.errors += errors
        self._listed = self._listed or bool(errors)

    def warn(self, *warnings: str) -> None:
        self.warnings += warnings

    def prefix(self, text: str) -> None:
        self.errors = [f"{text} {error}" for error in self.errors]

    def __str__(self) -> str:
        """All errors as one text, empty when there are none."""
        if len(self.errors) == 1 and not self._listed:
            return self.errors[0]
        return counted(self.errors)


def counted(errors: Iterable[str]) -> str:
    """`2 errors occurred:` and a line each; empty for none."""
    listed = list(errors)
    if not listed:
        return ""
    head = "1 error occurred:" if len(listed) == 1 else f"{len(listed)} errors occurred:"
    return head + "\n\t" + "\n\t".join(f"* {error}" for error in listed) + "\n\n"
