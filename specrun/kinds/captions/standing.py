"""Which providers can still be asked: one that fails again and again is set aside for the rest of the run."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from specrun.errors import CredentialsError, FormatError, MissingDependency, NodeError, OutOfMemory, StopRequested
from specrun.kinds.captions.providers import Pictured, Provider

GIVEN_UP_AFTER = 3
"""Failures in a row."""
_FINAL = (CredentialsError, MissingDependency, OutOfMemory)


@dataclass
class Standing:
    """Thread-safe. errors: the first failure of each provider, by place in the chain."""

    providers: Sequence[Provider]
    errors: dict[int, NodeError] = field(default_factory=dict)
    failed: Counter[int] = field(default_factory=Counter)
    _row: Counter[int] = field(default_factory=Counter)
    _aside: set[int] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def ask(self, place: int, image: Pictured) -> str | None:
        """The caption of one provider, or None if it has none, fails, or was set aside.

        Raises FormatError: the image or a file of captions cannot be read. StopRequested.
        """
        if place in self._aside:
            self.failed[place] += 1
            return None
        try:
            said = self.providers[place].caption(image)
        except (StopRequested, FormatError):
            raise
        except NodeError as error:
            with self._lock:
                self.errors.setdefault(place, error)
                self.failed[place] += 1
                self._row[place] += 1
                if self._row[place] >= GIVEN_UP_AFTER or isinstance(error, _FINAL):
                    self._aside.add(place)
            return None
        self._row[place] = 0
        return said

    def notes(self) -> list[str]:
        """`llava failed for 12 images (refuses connections)`."""
        told = []
        for place, error in sorted(self.errors.items()):
            aside = " and was not asked again" if place in self._aside else ""
            count = self.failed[place]
            noun = "image" if count == 1 else "images"
            told.append(f"{self.providers[place].kind} failed for {count} {noun}{aside}: {error.message}")
        return told

    def worst(self) -> NodeError | None:
        """The failure that explains best why there is nothing: refused credentials before all else."""
        errors = [self.errors[place] for place in sorted(self.errors)]
        return next((error for error in errors if isinstance(error, CredentialsError)), errors[0] if errors else None)
