from pathlib import Path

from tests.support.specs import lines, load, mistakes

SOURCE = "sources:\n  a: {kind: folder, path: x}\n"


def path_of(folder: Path, written: str, head: str = "", **options: object) -> object:
    project = load(folder, f"{head}\nsources:\n  a: {{kind: folder, path: {written}}}", **options)  # type: ignore[arg-type]
    return project.nodes[0].config["path"]


def mistakes_in(folder: Path, written: str, head: str = "", **options: object) -> list[str]:
    text = f"{head}\nsources:\n  a: {{kind: folder, path: {written}}}"
    return [line.partition(" ")[2] for line in lines(mistakes(folder, text, **options))]  # type: ignore[arg-type]


def test_text_is_composed_from_variables_project_and_environment(tmp_path: Path) -> None:
    written = '"${project.name}-${vars.n}-${vars.f}-${vars.d.deep}-${env.HOST}"'
    head = "vars: {n: 3, f: true, d: {deep: x}}"
    assert path_of(tmp_path, written, head, environ={"HOST": "h"}) == "corals-3-true-x-h"


def test_a_whole_value_keeps_its_type(tmp_path: Path) -> None:
    project = load(
        tmp_path,
        "vars: {e: 7, patterns: [a, b], all: {epochs: '${vars.e}'}}\n"
        "sources:\n  a: {kind: folder, path: x, include: '${vars.patterns}'}\n"
        "models:\n  m: {data: a, train: '${vars.all}'}\n",
    )
    assert project.nodes[0].config["include"] == ["a", "b"]
    assert project.nodes[1].config["train"]["epochs"] == 7  # type: ignore[index, call-overload]


def test_dollar_dollar_is_a_literal(tmp_path: Path) -> None:
    assert path_of(tmp_path, '"a $${vars.x} $5 $"') == "a ${vars.x} $5 $"


def test_what_is_inserted_is_not_interpolated_again(tmp_path: Path) -> None:
    assert path_of(tmp_path, '"${env.A}"', environ={"A": "${vars.x}"}) == "${vars.x}"


def test_defaults_stand_in_for_unset_and_empty_variables(tmp_path: Path) -> None:
    assert path_of(tmp_path, '"${env.A:-b c}"') == "b c"
    assert path_of(tmp_path, '"${env.A:-b}"', environ={"A": ""}) == "b"
    assert path_of(tmp_path, '"x${env.A:-}"') == "x"
    assert path_of(tmp_path, '"x${env.A}"', environ={"A": ""}) == "x"


def test_the_environment_wins_over_env_local_which_wins_over_env(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("A=1\nB=1\nexport C='one # two'  # comment\nD=x # y\nE=\"a\\nb\"\n# F=1\n")
    (tmp_path / ".env.local").write_text("A=2\nB=2\n")
    written = '"${env.A}${env.B}|${env.C}|${env.D}|${env.E}|${env.F:-none}"'
    assert path_of(tmp_path, written, environ={"A": "3"}) == "32|one # two|x|a\nb|none"


def test_a_line_of_env_that_is_no_assignment_is_reported_without_its_text(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("A=1\nhunter2\n")
    (found,) = mistakes(tmp_path, SOURCE)
    assert str(found).endswith(".env:2:1: this line is no NAME=value. Start a comment with #.")
    assert found.source_line is None


def test_text_of_the_environment_may_stand_for_a_number_or_a_truth_value(tmp_path: Path) -> None:
    text = "sources:\n  a: {kind: numbers, count: '${env.N}', scale: '${env.S:-2}'}\n"
    text += "models:\n  m: {data: a, train: {shuffle: '${env.B}'}}"
    nodes = load(tmp_path, text, environ={"N": "5", "B": "false"}).nodes
    assert nodes[0].config == {"count": 5, "scale": 2.0, "seed": None}
    assert nodes[1].config["train"]["shuffle"] is False  # type: ignore[index, call-overload]


def test_a_value_of_the_environment_is_never_shown(tmp_path: Path) -> None:
    text = "vars: {n: '${env.N}'}\nsources:\n  a: {kind: numbers, count: '${vars.n}'}\n"
    (found,) = mistakes(tmp_path, text, environ={"N": "hunter2"})
    assert str(found).endswith("sources.a.count must be a whole number, not ${vars.n}")
    assert (
        "hunter2"
        not in load(tmp_path, "sources:\n  a: {kind: folder, path: '${env.N}'}", environ={"N": "hunter2"}).resolved_yaml
    )


def test_unknown_names_come_with_the_nearest_one(tmp_path: Path) -> None:
    head = "vars: {epochs: 1}"
    expected = {
        '"${vars.epohcs}"': 'vars has no "epohcs". Did you mean "epochs"?',
        '"${epochs}"': '${epochs} names nothing. Did you mean "${vars.epochs}"?',
        '"${HOME}"': '${HOME} names nothing. Did you mean "${env.HOME}"?',
        '"${var.epochs}"': '${var.epochs} names nothing. Did you mean "${vars.epochs}"?',
        '"${project.nmae}"': 'project has no "nmae". Did you mean "name"?',
        '"${matrix.x}"': "${matrix.x} stands outside a matrix. Add `matrix:` to this entry.",
        '"${env.A:?say it}"': "the environment variable A is not set: say it",
        '"${vars.epochs"': '"${" has no closing "}". Write $${ for a literal ${.',
        '"${}"': "${} names nothing. Known are ${vars.…}, ${project.…}, ${matrix.…} and ${env.…}; $${ is a literal ${.",
    }
    assert {written: mistakes_in(tmp_path, written, head) for written in expected} == {
        written: [message] for written, message in expected.items()
    }


def test_every_mistake_of_one_text_is_shown_at_its_own_column(tmp_path: Path) -> None:
    found = mistakes(tmp_path, "vars: {a: 1}\nsources:\n  a: {kind: folder, path: 'x${vars.b}y${vars.c}'}")
    assert [(d.where.column, d.where.length) for d in found if d.where] == [(29, 9), (39, 9)]


def test_a_failed_interpolation_is_not_reported_a_second_time_by_the_model(tmp_path: Path) -> None:
    found = mistakes(tmp_path, "sources:\n  a: {kind: numbers, count: '${vars.x}', scale: '${env.S}'}")
    assert [d.message for d in found] == ['vars has no "x".', "the environment variable S is not set."]


def test_variables_that_need_each_other_are_one_mistake(tmp_path: Path) -> None:
    found = mistakes(
        tmp_path, "vars: {a: '${vars.b}', b: '${vars.a}'}\nsources:\n  a: {kind: folder, path: '${vars.a}'}"
    )
    assert [d.message for d in found] == ["variables that need each other: vars.b → vars.a → vars.b"]


def test_lists_and_null_cannot_stand_inside_text(tmp_path: Path) -> None:
    head = "vars: {l: [1], m: {a: 1}, n: null}"
    assert mistakes_in(tmp_path, '"x${vars.l}"', head) == ["${vars.l} is a list, which cannot stand inside text"]
    assert mistakes_in(tmp_path, '"x${vars.m}"', head) == ["${vars.m} is a mapping, which cannot stand inside text"]
    assert mistakes_in(tmp_path, '"x${vars.n}"', head) == ["${vars.n} is null, which cannot stand inside text"]


def test_doubling_variables_are_stopped(tmp_path: Path) -> None:
    doubling = "\n".join(f'  v{i}: "${{vars.v{i - 1}}}${{vars.v{i - 1}}}"' for i in range(1, 60))
    found = mistakes(tmp_path, f"vars:\n  v0: xxxxxxxx\n{doubling}\n{SOURCE}")
    assert {d.message for d in found} == {"more than 1,048,576 characters after interpolation"}
    growing = "\n".join(f'  v{i}: ["${{vars.v{i - 1}}}", "${{vars.v{i - 1}}}"]' for i in range(1, 60))
    found = mistakes(tmp_path, f"vars:\n  v0: [x]\n{growing}\n{SOURCE}")
    assert {d.message for d in found} == {"variables insert more than 500,000 values"}


def test_names_of_the_run_are_left_in_steps_and_unknown_elsewhere(tmp_path: Path) -> None:
    text = SOURCE + "steps:\n  s: {argv: [run, '${inputs.a}', '${vars.v}'], inputs: {a: sources.a}}\nvars: {v: w}"
    assert load(tmp_path, text).nodes[1].config["argv"] == ["run", "${inputs.a}", "w"]
    (found,) = mistakes_in(tmp_path, '"${inputs.a}"')
    assert found.startswith("${inputs.a} names nothing.")
