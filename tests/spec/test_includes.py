from pathlib import Path

from tests.support.specs import load, mistakes


def write(folder: Path, name: str, text: str) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)


def test_sections_of_included_files_are_merged(tmp_path: Path) -> None:
    write(tmp_path, "more/sources.yaml", "specrun: 1\ninclude: [deeper.yaml]\nsources:\n  b: {kind: folder, path: y}\n")
    write(tmp_path, "more/deeper.yaml", "vars: {p: z}\nsources:\n  c: {kind: folder, path: '${vars.p}'}\n")
    project = load(tmp_path, "include: [more/sources.yaml]\nsources:\n  a: {kind: folder, path: x}\n")
    assert [(str(n.address), n.config["path"]) for n in project.nodes] == [
        ("sources.a", "x"), ("sources.b", "y"), ("sources.c", "z"),
    ]  # fmt: skip
    assert [file.name for file in project.files] == ["project.yaml", "sources.yaml", "deeper.yaml"]
    assert project.nodes[2].marks["path"].file == str(tmp_path / "more" / "deeper.yaml")


def test_a_file_included_on_two_ways_is_read_once(tmp_path: Path) -> None:
    write(tmp_path, "shared.yaml", "sources:\n  s: {kind: folder, path: x}\n")
    write(tmp_path, "other.yaml", "include: [shared.yaml]\n")
    assert len(load(tmp_path, "include: [other.yaml, shared.yaml]").nodes) == 1


def test_a_name_in_two_files_shows_both_places(tmp_path: Path) -> None:
    write(tmp_path, "b.yaml", "\nsources:\n  a: {kind: folder, path: y}\n")
    (found,) = mistakes(tmp_path, "include: [b.yaml]\nsources:\n  a: {kind: folder, path: x}\n")
    first = tmp_path / "project.yaml"
    assert (
        str(found) == f"{tmp_path}/b.yaml:3:3: sources.a is declared twice, first in {first}:5. Remove or rename one."
    )
    assert [str(place) for place in found.related] == [f"{first}:5:3"]


def test_included_files_that_include_each_other_are_shown_as_a_circle(tmp_path: Path) -> None:
    write(tmp_path, "b.yaml", "include: [c.yaml]")
    write(tmp_path, "c.yaml", "include: [b.yaml]")
    (found,) = mistakes(tmp_path, "include: [b.yaml]")
    assert found.message == "files that include each other: b.yaml → c.yaml → b.yaml."
    assert str(found.where) == f"{tmp_path}/c.yaml:1:11"


def test_mistakes_in_included_files_and_the_spec_are_shown_together(tmp_path: Path) -> None:
    write(tmp_path, "b.yaml", "project: {name: x}\nsources:\n  b: {kind: foldr}\n")
    write(tmp_path, "bad.yaml", "sources: [")
    found = mistakes(tmp_path, "include: [b.yaml, b.yml, bad.yaml, 5]\nsources:\n  a: {kind: folder}\n")
    assert [d.message for d in found] == [
        f'there is no file "{tmp_path}/b.yml".',
        "include takes file names.",
        'sources.a needs the key "path".',
        '"project" stands in the spec itself, not in a file that it includes',
        'unknown kind "foldr" in sources.b.',
        "the file ends inside a list or mapping in brackets.",
    ]
