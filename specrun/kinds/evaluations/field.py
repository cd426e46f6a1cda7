"""A label field that an entry names: who writes it, and whether it is there."""

from __future__ import annotations

from typing import Any

from specrun.kinds.predictions.field import dataset_of, field_name
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
    return field_problems("ground_truth", ground_truth, place, lookup)


def field_problems(path: str, field: str, dataset: str, lookup: Lookup) -> list[Problem]:
    """path: of the key that names it. dataset: its address."""
    writers = field_writers(dataset, lookup)
    if not writers or field in writers:
        return []
    message = f'no entry writes a label field "{field}" of {dataset}, so it must be there in FiftyOne'
    return [Problem(path, message, did_you_mean(field, writers, otherwise="Written are"), warning=True)]


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


def missing_field(field: str, dataset: str, look: Look) -> tuple[str, ...]:
    """What the plan says of a field that is not in FiftyOne. dataset: its name there, or ""."""
    # With pymongo, where the database must be asked.
    from specrun.clients.fiftyone.observe import observe_dataset

    if not dataset:
        return ()
    seen = observe_dataset(look.settings, look.state_dir, look.project_dir, dataset, {})
    fields = [part.removeprefix("field:") for part in seen.parts if part.startswith("field:")]
    if not seen.exists or field in fields:
        return ()
    return (f"{dataset} has no label field {field} in FiftyOne; it has {listed(sorted(fields), 'and') or 'none'}",)
