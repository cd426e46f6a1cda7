"""Labels and attributes by name instead of by id: what survives the way to another server."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from tests.doubles.cvat.state import Json, Label, State, Task

OF_ONE_SERVER = ("id", "label_id")


@dataclass(frozen=True)
class Names:
    """The labels of one task; the points of a skeleton by (skeleton, point)."""

    labels: tuple[Label, ...]

    @classmethod
    def of(cls, state: State, task: Task) -> Self:
        return cls(tuple(state.labels_of(task)))

    def every(self) -> list[Label]:
        return [label for top in self.labels for label in (top, *top.sublabels)]

    def find(self, name: str, *, of: Label | None = None) -> Label | None:
        """Among the points of a skeleton when `of` is given, otherwise among the labels at the top."""
        return next((label for label in (of.sublabels if of else self.labels) if label.name == name), None)

    def without_ids(self, data: Json) -> Json:
        return {
            kind: [self._told(thing) for thing in things] if isinstance(things, list) else things
            for kind, things in data.items()
        }

    def _told(self, thing: Json) -> Json:
        label = next(label for label in self.every() if label.id == thing["label_id"])
        told = {key: value for key, value in thing.items() if key not in OF_ONE_SERVER}
        told["attributes"] = self._named(thing["attributes"], label)
        if "shapes" in thing:
            told["shapes"] = [
                {key: value for key, value in shape.items() if key != "id"}
                | {"attributes": self._named(shape["attributes"], label)}
                for shape in thing["shapes"]
            ]
        if "elements" in thing:
            told["elements"] = [self._told(element) for element in thing["elements"]]
        return told | {"label": label.name}

    @staticmethod
    def _named(values: list[Json], label: Label) -> list[Json]:
        names = {attribute.id: attribute.name for attribute in label.attributes}
        return [{"value": value["value"], "name": names[value["spec_id"]]} for value in values]

    def with_ids(self, data: Json) -> Json:
        return {
            kind: [self._asked(thing, None) for thing in data.get(kind, [])] for kind in ("tags", "shapes", "tracks")
        }

    def _asked(self, thing: Json, skeleton: Label | None) -> Json:
        label = self.find(thing["label"], of=skeleton)
        assert label is not None, f"the backup has no label {thing['label']}"
        asked = {key: value for key, value in thing.items() if key != "label"}
        asked["label_id"] = label.id
        asked["attributes"] = self._identified(thing["attributes"], label)
        for shape in asked.get("shapes", []):
            shape["attributes"] = self._identified(shape["attributes"], label)
        if "elements" in thing:
            asked["elements"] = [self._asked(element, label) for element in thing["elements"]]
        return asked

    @staticmethod
    def _identified(values: list[Json], label: Label) -> list[Json]:
        ids = {attribute.name: attribute.id for attribute in label.attributes}
        return [{"spec_id": ids[value["name"]], "value": value["value"]} for value in values]


def svg_with_ids(svg: str, ids: dict[str, int]) -> str:
    return re.sub(r'data-label-name="([^"]*)"', lambda found: f'data-label-id="{ids.get(found.group(1), 0)}"', svg)
