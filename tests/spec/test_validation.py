from pathlib import Path

import pytest

from tests.support.specs import lines, mistakes

SOURCE = "sources:\n  a: {kind: folder, path: x}\n"


def of_model(folder: Path, fields: str) -> list[str]:
    """Messages for a model with these fields; it begins in line 6, column 3."""
    found = mistakes(folder, f"{SOURCE}models:\n  m: {{data: a, {fields}}}\n")
    return [line.partition(" ")[2] for line in lines(found)]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("trian: {}", 'unknown key "trian" in models.m. Did you mean "train"?'),
        ("train: {epohcs: 5}", 'unknown key "epohcs" in models.m.train. Did you mean "epochs"?'),
        ("train: {q: 5}", 'unknown key "q" in models.m.train. Known keys are epochs, lr, workers, shuffle or size.'),
        ("train: {epochs: ten}", 'models.m.train.epochs must be a whole number, not "ten"'),
        ('train: {epochs: "10"}', 'models.m.train.epochs must be a whole number, not "10". Remove the quotes.'),
        ("train: {epochs: true}", "models.m.train.epochs must be a whole number, not true"),
        ("train: {epochs: 1.5}", "models.m.train.epochs must be a whole number, not 1.5"),
        ("train: {epochs: null}", "models.m.train.epochs must be a whole number, not null"),
        (
            "train: {epochs: [5]}",
            "models.m.train.epochs must be a whole number, not a list. Write one value, without brackets.",
        ),
        ("train: {epochs: 0}", "models.m.train.epochs must be at least 1, not 0"),
        (
            "train: {shuffle: no}",
            'models.m.train.shuffle must be true or false, not "no". YAML 1.2 reads no as text; write false.',
        ),
        ("train: {size: true}", "models.m.train.size must be a list, not true"),
        ("train: {size: 64}", "models.m.train.size must be a list, not 64. Write [64, 64]."),
        ("train: {size: [1]}", "models.m.train.size needs at least 2 items"),
        ("train: {size: [1, 2, 3]}", "models.m.train.size takes at most 2 items"),
        ("train: {size: [1, a]}", 'models.m.train.size.1 must be a whole number, not "a"'),
        ("train: 5", "models.m.train must be a mapping, not 5"),
        ("mode: fsat", 'models.m.mode must be "fast" or "slow", not "fsat". Did you mean "fast"?'),
        ("unmapped: kep", 'models.m.unmapped must be "error", "keep" or a mapping, not "kep". Did you mean "keep"?'),
        ("unmapped: {too: x}", 'the key "too" in models.m.unmapped must be "to". Did you mean "to"?'),
        ("from: sources.a", 'models.m.from must be a list, not "sources.a". Write ["sources.a"].'),
        ("description: 12", 'models.m.description must be text, not 12. Put quotes around it: "12".'),
        ("timeout: 90", "models.m.timeout: 90 has no unit; write for example 30s, 90m or 12h"),
        (
            "timeout: 90 minutes",
            'models.m.timeout: "90 minutes" is no duration; write a number with a unit, for example 30s, 90m, '
            "1h30m or 2d",
        ),
        ("resources: {memory: 16}", "models.m.resources.memory: 16 has no unit; write for example 512MB or 16GB"),
        ("resources: {gpus: two}", 'models.m.resources.gpus must be a whole number or a mapping, not "two"'),
        ("resources: {gpus: -1}", "models.m.resources.gpus must be at least 0, not -1"),
        ("resources: {gpus: {min: -1}}", "models.m.resources.gpus.min must be at least 0, not -1"),
        ("kind: network", 'unknown key "kind" in models.m. All models are of one kind.'),
    ],
)
def test_a_wrong_value_is_explained(tmp_path: Path, fields: str, message: str) -> None:
    assert of_model(tmp_path, fields) == [message]


def test_the_caret_stands_under_the_value_or_the_unknown_key(tmp_path: Path) -> None:
    found = mistakes(tmp_path, f"{SOURCE}models:\n  m:\n    data: a\n    train:\n      epohcs: 3\n      lr: fast\n")
    assert [(d.where.line, d.where.column, d.where.length) for d in found if d.where] == [(9, 7, 6), (10, 11, 4)]


def test_a_missing_key_is_said_with_its_documentation(tmp_path: Path) -> None:
    found = mistakes(tmp_path, "sources:\n  a: {kind: numbers}\n")
    assert lines(found) == ['4:3 sources.a needs the key "count". count: How many numbers.']


def test_a_misspelt_required_key_is_one_mistake(tmp_path: Path) -> None:
    found = mistakes(tmp_path, "sources:\n  a: {kind: numbers, cuont: 3}\n")
    assert lines(found) == ['4:22 unknown key "cuont" in sources.a. Did you mean "count"?']


def test_kinds_and_sections_are_suggested(tmp_path: Path) -> None:
    text = "sources:\n  a: {kind: foldr}\n  b: {type: folder}\n  c:\n  d: {kind: [x]}\nmodles: {}\n"
    assert lines(mistakes(tmp_path, text)) == [
        '4:13 unknown kind "foldr" in sources.a. Did you mean "folder"?',
        '5:7 sources.b needs a kind. Did you mean "kind"?',
        "6:3 sources.c needs a kind. Kinds are folder or numbers.",
        '7:13 unknown kind "None" in sources.d. Kinds are folder or numbers.',
        '8:1 unknown section "modles". Did you mean "models"?',
    ]


def test_names_follow_the_pattern_and_are_unique_ignoring_case(tmp_path: Path) -> None:
    text = (
        "sources:\n  my photos: {kind: folder, path: x}\n  b: {kind: folder, path: x}\n  B: {kind: folder, path: x}\n"
    )
    found = mistakes(tmp_path, text)
    assert lines(found) == [
        '4:3 "my photos" is no name: names are letters, digits, _ and -, starting with a letter. '
        'Did you mean "my_photos"?',
        "6:3 sources.B and sources.b differ in case only. Rename one: on some disks they would be one folder.",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("specrun: 2\nproject: {name: a}", '1:10 this specrun reads grammar 1. Write "specrun: 1".'),
        ("specrun: true\nproject: {name: a}", '1:10 this specrun reads grammar 1. Write "specrun: 1".'),
        ("specrun: 1", "1:1 the spec has no project. Add `project: {name: …}`."),
        (
            "specrun: 1\nproject: a",
            '2:1 "project" must be a mapping, not text. Write a mapping of names, each with its own keys below it.',
        ),
        (
            "specrun: 1\nproject: {name: 3d}",
            '2:17 project.name must be a name (letters, digits, _ and -, starting with a letter), not "3d"',
        ),
        ("specrun: 1\nproject: {name: a, seed: -1}", "2:26 project.seed must be at least 0, not -1"),
        (
            "specrun: 1\nproject: {name: a}\nsettings: {executor: {backend: slurm}}",
            '3:32 settings.executor.backend must be "local" or "ray", not "slurm"',
        ),
        (
            "specrun: 1\nproject: {name: a}\nsettings: {retry: {max_delay: 5}}",
            "3:31 settings.retry.max_delay: 5 has no unit; write for example 30s, 90m or 12h",
        ),
        (
            "specrun: 1\nproject: {name: a}\nsources: [a]",
            '3:1 "sources" must be a mapping, not a list. Write a mapping of names, each with its own keys below it.',
        ),
        ("specrun: 1\nproject: {name: a}\nsources: {a: 5}", "3:14 sources.a must be a mapping of keys, not a number"),
    ],
)
def test_the_frame_of_a_spec_is_checked(tmp_path: Path, text: str, message: str) -> None:
    assert lines(mistakes(tmp_path, text)) == [message]


def test_all_mistakes_are_shown_in_one_go_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = """
    vars: {x: "${vars.y}"}
    sources:
      a: {kind: foldr}
      b: {kind: folder, pth: x}
    models:
      m: {data: c, train: {epochs: none}, start_from: n}
    steps:
      s: {argv: []}
      t: {inputs: {a: sources.q}, argv: [x], after: [models.z]}
    """
    assert lines(mistakes(tmp_path, text)) == [
        '3:12 vars has no "y". vars has x.',
        '5:13 unknown kind "foldr" in sources.a. Did you mean "folder"?',
        '6:21 unknown key "pth" in sources.b. Did you mean "path"?',
        "8:13 models.m.data: there is no sources.c. sources has a or b.",
        '8:32 models.m.train.epochs must be a whole number, not "none"',
        "8:51 models.m.start_from: there is no models.n. models has m.",
        "11:19 steps.t.inputs.a: there is no sources.q. There are sources.a, sources.b and models.m.",
        "11:50 steps.t.after: there is no models.z. There are sources.a, sources.b, models.m, steps.s and steps.t.",
    ]


def test_a_kinds_own_check_is_placed_at_its_path(tmp_path: Path) -> None:
    found = mistakes(tmp_path, f"{SOURCE}models:\n  m: {{data: a, train: {{epochs: 13}}}}\n")
    assert lines(found) == ["6:32 models.m.train.epochs: brings bad luck. Take 12."]
