"""The label field that an evaluation takes for right: who writes it, and whether it is there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from specrun.kinds.prediction_field import dataset_of, field_name
from specrun.model.address import parse_address
from specrun.model.work import Look
from specrun.spec.kind import Lookup, Problem
from specrun.spec.suggest import did_you_mean, listed


def truth_problems(ground_truth: str | None, place: str | None, lookup: Lookup) -> list[Problem]:
    """place: the dataset or source that was predicted on. People may add fields in FiftyOne, so a name that no entry
    writes is a warning."""
    if ground_truth is None or place is None:
        return []
    if not place.startswith("datasets."):
        return [Problem("ground_truth", f"{place} has its own labels and no label fields", "Remove it.")]
    writers = field_writers(place, lookup)
    if not writers or ground_truth in writers:
        return []
    message = f'no entry writes a label field "{ground_truth}" of {place}, so it must be there in FiftyOne'
    return [
        Problem("ground_truth", message, did_you_mean(ground_truth, writers, otherwise="Written are"), warning=True)
    ]


def field_writers(place: str, lookup: Lookup) -> dict[str, str]:
    """Label field of a dataset → the entry that writes it; {} where the dataset itself is mistaken."""
    if lookup.spec(place) is None:
        return {}
    same = dataset_of(place, lookup)
    found: dict[str, str] = {}
    for text in dict.fromkeys((place, *lookup.addresses("datasets"))):
        if dataset_of(text, lookup) == same and (field := getattr(lookup.spec(text), "label_field", None)):
            found.setdefault(field, text)
    for text in lookup.addresses("predictions"):
        spec: Any = lookup.spec(text)
        if spec is not None and dataset_of(spec.on, lookup) == same:
            found.setdefault(field_name(spec.label_field, parse_address(text)), text)
    return found


def missing_field(ground_truth: str, facts: Mapping[str, Any], look: Look) -> tuple[str, ...]:
    """What the plan says of a field that is not in FiftyOne. facts: of predictions on the dataset."""
    # With pymongo, where the database must be asked.
    from specrun.clients.fiftyone.observe import observe_dataset

    name = str(facts.get("dataset") or "")
    if not name:
        return ()
    seen = observe_dataset(look.settings, look.state_dir, look.project_dir, name, {})
    fields = [part.removeprefix("field:") for part in seen.parts if part.startswith("field:")]
    if not seen.exists or ground_truth in fields:
        return ()
    return (f"{name} has no label field {ground_truth} in FiftyOne; it has {listed(sorted(fields), 'and') or 'none'}",)
