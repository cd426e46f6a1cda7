from pathlib import Path

import pytest

from specrun.errors import SpecError
from specrun.kinds.registry import REGISTRY
from specrun.model.taxonomy import ResolvedTaxonomy, UnmappedLabel
from specrun.spec.build import build
from tests.support.specs import lines, write_spec


def resolved(folder: Path, text: str, name: str = "t") -> ResolvedTaxonomy:
    path = write_spec(folder, f"taxonomies:\n{text}")
    composition = build(path, REGISTRY, variables={}, sets={}, environ={}).composition
    kind = REGISTRY["taxonomies"].load("taxonomy")
    return ResolvedTaxonomy.from_json(kind.resolve(composition.spec(f"taxonomies.{name}"), composition))  # type: ignore[union-attr]


def mistakes(folder: Path, text: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        resolved(folder, text)
    return [line.partition(" ")[2] for line in lines(list(caught.value.diagnostics))]  # type: ignore[arg-type]


def test_classes_map_to_themselves_and_others_are_mapped_dropped_or_refused(tmp_path: Path) -> None:
    text = "  t: {classes: [Acropora, Other], map: {Corail mou: Other}, drop: [Empty]}"
    taxonomy = resolved(tmp_path, text)
    assert [taxonomy.apply(label) for label in ("Acropora", "Corail mou", "Empty")] == ["Acropora", "Other", None]
    with pytest.raises(UnmappedLabel, match=r'has no class "Acropra".*Is it "Acropora"'):
        taxonomy.apply("Acropra")


@pytest.mark.parametrize(("unmapped", "expected"), [("keep", "New"), ("drop", None), ("{to: Other}", "Other")])
def test_the_rest_is_kept_dropped_or_becomes_one_class(tmp_path: Path, unmapped: str, expected: str | None) -> None:
    taxonomy = resolved(tmp_path, f"  t: {{classes: [A, Other], unmapped: {unmapped}}}")
    assert taxonomy.apply("New") == expected


def test_without_classes_the_targets_of_the_map_are_the_classes(tmp_path: Path) -> None:
    taxonomy = resolved(tmp_path, "  t: {map: {Pavona: PL, Leptoseris: PL}}")
    assert (taxonomy.classes, taxonomy.apply("Pavona"), taxonomy.apply("PL")) == (None, "PL", "PL")
    assert taxonomy.order({"z", "PL", "a"}) == ["PL", "a", "z"]


def test_declared_classes_fix_the_order_and_kept_ones_follow_sorted(tmp_path: Path) -> None:
    taxonomy = resolved(tmp_path, "  t: {classes: [z, b], unmapped: keep}")
    assert taxonomy.order({"b", "y", "a"}) == ["z", "b", "a", "y"]


def test_an_extension_goes_on_with_what_its_parent_maps(tmp_path: Path) -> None:
    text = """\
  base: {classes: [Acropora, Soft, Stone], map: {Corail mou: Soft, Galet: Stone}, drop: [Empty], unmapped: keep,
         colors: {Soft: "#000000"}}
  t: {extends: base, classes: [Coral, Other], map: {Acropora: Coral, Soft: Coral}, drop: [Stone],
      colors: {Coral: "#ffffff"}}
"""
    taxonomy = resolved(tmp_path, text)
    labels = ["Acropora", "Corail mou", "Soft", "Galet", "Stone", "Empty", "New"]
    assert [taxonomy.apply(label) for label in labels] == ["Coral", "Coral", "Coral", None, None, None, "New"]
    assert taxonomy.classes == ("Coral", "Other")
    assert taxonomy.colors == {"Soft": "#000000", "Coral": "#ffffff"}


def test_an_extension_may_take_back_a_dropped_class(tmp_path: Path) -> None:
    text = "  base: {classes: [A], drop: [Empty, Dust]}\n  t: {extends: base, classes: [A, Empty], map: {Dust: A}}"
    taxonomy = resolved(tmp_path, text)
    assert [taxonomy.apply(label) for label in ("Empty", "Dust")] == ["Empty", "A"]


def test_json_keeps_a_taxonomy_whole_and_does_not_depend_on_the_order_of_the_map(tmp_path: Path) -> None:
    one = resolved(tmp_path, "  t: {classes: [A, B], map: {x: A, y: B}, drop: [q, p], unmapped: {to: B}}")
    other = resolved(tmp_path, "  t: {classes: [A, B], map: {y: B, x: A}, drop: [p, q], unmapped: {to: B}}")
    assert ResolvedTaxonomy.from_json(one.to_json()) == one
    assert list(one.to_json()["map"]) == list(other.to_json()["map"])  # type: ignore[arg-type]
    assert one.to_json() == other.to_json()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            "classes: [Acropora], map: {a: Acropra}",
            'taxonomies.t.map.a: the map leads to "Acropra", which is none of the classes. Did you mean "Acropora"?',
        ),
        ("classes: [A, A]", 'taxonomies.t.classes.1: the class "A" stands twice. Remove one.'),
        (
            "classes: [A], map: {b: A}, drop: [b]",
            'taxonomies.t.map.b: "b" is both mapped and dropped. Keep one of the two.',
        ),
        (
            "classes: [A, B], drop: [B]",
            'taxonomies.t.drop.0: "B" is one of the classes and is dropped. Keep one of the two.',
        ),
        (
            "classes: [A, B], map: {A: B}",
            'taxonomies.t.map.A: "A" is one of the classes and is mapped to "B". Keep one of the two.',
        ),
        (
            "map: {A: B, B: C}",
            'taxonomies.t.map.A: the map leads to "B", which is mapped itself. Map to the final class.',
        ),
        (
            "classes: [Other], unmapped: {to: Othr}",
            'taxonomies.t.unmapped.to: "Othr" is none of the classes. Did you mean "Other"?',
        ),
        (
            "classes: [A], colors: {A: red}",
            'taxonomies.t.colors.A: "red" is no colour. Write "#rrggbb" in quotes, for # starts a comment.',
        ),
        (
            'classes: [A], colors: {B: "#ffffff"}',
            'taxonomies.t.colors.B: a colour for "B", which is none of the classes. Classes are A.',
        ),
        (
            "drop: [A]",
            "taxonomies.t: no classes and no map, so every label would be an error. "
            "List the classes, or say unmapped: keep.",
        ),
        ("extends: u, classes: [A]", 'taxonomies.t.extends: there is no taxonomies.u. Did you mean "v"?'),
        (
            "extends: v, classes: [A]",
            'taxonomies.t.classes: what it extends maps to "V", which is none of the classes. Add "V", or map it on.',
        ),
    ],
)
def test_contradictions_are_mistakes_at_their_place(tmp_path: Path, fields: str, message: str) -> None:
    found = mistakes(tmp_path, f"  t: {{{fields}}}\n  v: {{classes: [V], map: {{w: V}}}}")
    assert found == [message.replace('Did you mean "v"?', "taxonomies has t or v.")]


def test_extending_in_a_circle_is_one_mistake(tmp_path: Path) -> None:
    (found,) = mistakes(tmp_path, "  t: {extends: u, classes: [A]}\n  u: {extends: t, classes: [A]}")
    assert found.startswith("entries that need each other: taxonomies.t")
