from pathlib import Path

import pytest

from specrun.model.node import Node
from tests.support.specs import lines, load, mistakes

BASE = """
sources:
  photos: {kind: folder, path: x}
  off: {kind: folder, path: x, enabled: false}
palettes:
  p: {names: [red]}
models:
  grid: {data: photos, matrix: {lr: [0.1, 0.2], e: [x, y]}, train: {lr: "${matrix.lr}"}, description: "${matrix.e}"}
"""


def inputs(folder: Path, text: str, address: str) -> list[str]:
    (node,) = [n for n in load(folder, BASE + text).nodes if str(n.address) == address]
    return [f"{i.role}={i.address}" for i in node.inputs]


def test_a_bare_name_and_a_full_address_mean_the_same(tmp_path: Path) -> None:
    nodes = {}
    for written in ("photos", "sources.photos"):
        project = load(tmp_path, f"{BASE}  m: {{data: {written}}}")
        nodes[written] = next(n for n in project.nodes if n.address.name == "m")
    assert nodes["photos"].config == nodes["sources.photos"].config
    assert nodes["photos"].inputs == nodes["sources.photos"].inputs
    assert nodes["photos"].inputs[0].parts == ("media",)


def test_a_matrix_is_reached_by_instance_by_star_and_by_best(tmp_path: Path) -> None:
    every = [f"models.grid[e={e},lr={lr}]" for e in "xy" for lr in (0.1, 0.2)]
    assert inputs(tmp_path, 'scores:\n  s: {model: "grid[lr=0.2,e=y]"}', "scores.s") == [f"model={every[3]}"]
    assert inputs(tmp_path, 'steps:\n  s: {argv: [x], inputs: {m: "models.grid[*]"}}', "steps.s") == [
        f"m={address}" for address in every
    ]
    text = "scores:\n  s: {model: {best: grid, metric: iou, mode: min}}"
    assert inputs(tmp_path, text, "scores.s") == [f"model={address}" for address in every]
    config = load(tmp_path, BASE + text).nodes[-1].config
    assert config["model"] == {"best": "models.grid", "metric": "iou", "mode": "min"}


def test_instances_may_refer_to_the_instance_with_their_own_value(tmp_path: Path) -> None:
    text = 'scores:\n  s: {matrix: {lr: [0.1, 0.2]}, model: "grid[e=x,lr=${matrix.lr}]"}'
    assert inputs(tmp_path, text, "scores.s[lr=0.2]") == ["model=models.grid[e=x,lr=0.2]"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("  m: {data: photo}", '10:13 models.m.data: there is no sources.photo. Did you mean "photos"?'),
        ("  m: {data: zzz}", "10:13 models.m.data: there is no sources.zzz. sources has photos or off."),
        (
            "  m: {data: models.grid}",
            "10:13 models.m.data: models.grid is in models, but this must be in sources. sources has photos or off.",
        ),
        (
            "  m: {data: photos, from: [photos]}",
            '10:28 models.m.from.0: "photos" is no address. Write "sources.photos".',
        ),
        (
            "  m: {data: photos, from: [sorces.photos]}",
            '10:28 models.m.from.0: there is no section "sorces". Did you mean "sources.photos"?',
        ),
        (
            "  m: {data: photos, from: [palettes.p]}",
            "10:28 models.m.from.0: palettes.p is in palettes, but this must be in sources or models. "
            "There are sources.photos, sources.off, models.grid and models.m.",
        ),
        ("  m: {data: photos, start_from: m}", "10:33 models.m.start_from: models.m names itself"),
        (
            "  m: {data: photos, start_from: grid}",
            "10:33 models.m.start_from: models.grid has a matrix of 4 nodes. "
            'Write "models.grid[e=x,lr=0.1]" for one; where a field takes them, also "models.grid[*]" for all or '
            "{best: models.grid, metric: …}.",
        ),
        (
            '  m: {data: photos, start_from: "grid[e=x]"}',
            "10:33 models.m.start_from: models.grid[e=x] names 2 nodes of the matrix. "
            "Name every key: models.grid[e=x,lr=0.1] or models.grid[e=x,lr=0.2].",
        ),
        ('  m: {data: "photos[e=x]"}', '10:13 models.m.data: sources.photos has no matrix. Write "sources.photos".'),
        ("  m: {data: photos, after: [grid]}", '10:29 models.m.after: "grid" is no address. Write "models.grid".'),
        (
            "scores: {s: {model: {best: gird, metric: a}}}",
            '10:28 scores.s.model.best: there is no models.gird. Did you mean "grid"?',
        ),
    ],
)
def test_a_reference_that_names_nothing_is_explained(tmp_path: Path, text: str, message: str) -> None:
    assert lines(mistakes(tmp_path, BASE + text)) == [message]


def test_references_of_an_entry_with_other_mistakes_are_checked_too(tmp_path: Path) -> None:
    found = mistakes(tmp_path, BASE + "  m: {data: photo, mode: slwo}")
    assert [d.message for d in found] == [
        "models.m.data: there is no sources.photo.",
        'models.m.mode must be "fast" or "slow", not "slwo".',
    ]


def test_a_reference_to_an_entry_with_mistakes_is_no_mistake(tmp_path: Path) -> None:
    found = mistakes(tmp_path, BASE + "  m: {data: photos, mode: slwo}\n  n: {data: photos, start_from: m}")
    assert [d.message for d in found] == ['models.m.mode must be "fast" or "slow", not "slwo".']


def test_a_cycle_is_shown_with_its_lines(tmp_path: Path) -> None:
    text = "  a: {data: photos, start_from: b}\n  b: {data: photos, start_from: c}\n  c: {data: photos, start_from: a}"
    (found,) = mistakes(tmp_path, BASE + text)
    file = tmp_path / "project.yaml"
    assert found.message == (
        f"entries that need each other: models.a ({file}:10) → models.b ({file}:11) → models.c ({file}:12) → models.a."
    )
    assert [place.line for place in found.related] == [11, 12]


def test_declarations_and_after_can_make_cycles_too(tmp_path: Path) -> None:
    text = "palettes: {a: {names: [], extends: b}, b: {names: [], extends: a}}\n"
    text += "steps:\n  x: {argv: [x], after: [steps.y]}\n  y: {argv: [x], after: [steps.x]}"
    found = mistakes(tmp_path, text)
    assert [d.message.split(" (")[0] for d in found] == [
        "entries that need each other: palettes.a",
        "entries that need each other: steps.x",
    ]


def test_needing_a_disabled_entry_is_a_warning(tmp_path: Path) -> None:
    project = load(tmp_path, BASE + "  m: {data: off}")
    (warning,) = project.warnings
    assert warning.message == "sources.off is not enabled, so models.m is left as it is too"
    assert load(tmp_path, BASE + "  m: {data: off, enabled: false}").warnings == ()


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        ("[a]", "models.m.matrix must be a mapping of lists."),
        ("{a: 5}", "models.m.matrix.a must be a list of values."),
        ("{a: []}", "models.m.matrix.a must be a list of values."),
        ("{a: [[1]]}", "models.m.matrix.a holds a list; its values are single ones"),
        ('{a: ["x,y"]}', '"x,y" cannot stand in an address.'),
        ("{a: [x, X]}", 'models.m.matrix.a holds "X" twice'),
        ("{a b: [x]}", 'the matrix key "a b" is no name'),
        ("{a: ['${matrix.b}'], b: [x]}", "${matrix.b} stands outside a matrix."),
    ],
)
def test_a_wrong_matrix_is_one_mistake(tmp_path: Path, matrix: str, message: str) -> None:
    found = mistakes(tmp_path, f"{BASE}  m: {{data: photos, matrix: {matrix}}}")
    assert [d.message for d in found] == [message]


def test_a_matrix_key_that_nothing_uses_is_a_mistake(tmp_path: Path) -> None:
    text = "  m: {data: photos, matrix: {mode: [fast], a: [1, 2]}, mode: '${matrix.mode}'}"
    (line,) = lines(mistakes(tmp_path, f"{BASE}{text}"))
    assert line == (
        "10:44 models.m.matrix.a is used nowhere: its nodes would be the same but for their names. "
        "Write ${matrix.a} where it belongs."
    )


def test_a_matrix_key_with_the_name_of_a_key_is_told_how_to_be_that_key(tmp_path: Path) -> None:
    text = "sources: {noise: {kind: numbers, count: 3, matrix: {seed: [1, 2]}}}"
    (line,) = lines(mistakes(tmp_path, text))
    assert line.endswith("Write seed: ${matrix.seed}.")


def test_a_mistake_in_every_instance_is_shown_once(tmp_path: Path) -> None:
    found = mistakes(
        tmp_path,
        BASE + "  m: {data: photos, matrix: {a: [1, 2, 3]}, description: 'n${matrix.a}', mode: x, start_from: q}",
    )
    assert len(found) == 2


def test_the_best_of_a_node_without_a_matrix_is_a_mistake(tmp_path: Path) -> None:
    text = BASE + "  one: {data: photos}\nscores: {s: {model: {best: one, metric: iou}}}"
    (line,) = lines(mistakes(tmp_path, text))
    assert "models.one has no matrix, so there is no best of it" in line


def test_instances_of_which_the_best_is_asked_for_say_by_what(tmp_path: Path) -> None:
    text = BASE + "scores: {s: {model: {best: grid, metric: iou, mode: min}}}"
    (node,) = (node for node in load(tmp_path, text).nodes if node.address.section == "scores")
    assert [used.best for used in node.inputs] == [("iou", "min")] * 4
    assert Node.from_json(node.to_json()).inputs == node.inputs


def test_a_metric_that_no_instance_reports_is_a_mistake(tmp_path: Path) -> None:
    for metric, wrong in {"iou": False, "iou/coral": False, "iuo": True}.items():
        text = f"{BASE}scores: {{s: {{model: {{best: grid, metric: {metric}}}}}}}"
        expected = ['10:42 scores.s: models.grid reports no metric "iuo". Did you mean "iou"?']
        assert lines(mistakes(tmp_path, text)) == (expected if wrong else [])


def test_a_metric_is_not_checked_where_nobody_knows_what_is_reported(tmp_path: Path) -> None:
    text = BASE.replace("{data: photos, matrix", "{data: photos, mode: slow, matrix")
    assert mistakes(tmp_path, f"{text}scores: {{s: {{model: {{best: grid, metric: iuo}}}}}}") == []
