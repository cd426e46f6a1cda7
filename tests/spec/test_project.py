import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from specrun.model.node import Input, Node, Resources
from specrun.spec.project import Project
from tests.support.specs import load

TEXT = """
project: {name: reef, description: corals, seed: 7, output_root: made}
vars: {epochs: 5}
settings:
  retry: {max_attempts: 2}
palettes:
  base: {names: [blue]}
  p: {names: [red], extends: base}
sources:
  photos: {kind: folder, path: x}
  noise: {kind: numbers, count: 3}
models:
  unet:
    data: photos
    palette: p
    train: {epochs: "${vars.epochs}", workers: 8}
    resources: {gpus: {min: 1}, memory: 16GB, cpus: 4}
    timeout: 1h30m
    retries: 2
    description: the good one
    after: [sources.noise]
"""


def loaded(folder: Path, text: str = TEXT) -> Project:
    return load(folder, f"specrun: 1\n{text}")


def node_of(project: Project, address: str) -> Node:
    return next(node for node in project.nodes if str(node.address) == address)


def test_a_project_carries_names_folders_and_filled_settings(tmp_path: Path) -> None:
    project = loaded(tmp_path)
    assert (project.name, project.description, project.seed) == ("reef", "corals", 7)
    assert (project.project_dir, project.output_root) == (tmp_path, tmp_path / "made")
    assert project.spec_file == tmp_path / "project.yaml"
    assert project.settings["retry"] == {"max_attempts": 2, "initial_delay": "1s", "max_delay": "60s"}
    assert project.settings["fiftyone"] == {"database": "embedded"}
    assert project.settings["tracking"] == {"tensorboard": True, "csv": True, "wandb": None, "mlflow": None}


def test_a_node_carries_its_config_inputs_and_resources(tmp_path: Path) -> None:
    node = node_of(loaded(tmp_path), "models.unet")
    assert node.kind == "models.network"
    assert node.config["train"] == {"epochs": 5, "lr": 0.001, "workers": 8, "shuffle": True, "size": [8, 8]}
    assert "matrix" not in node.config
    assert [str(address) for address in node.after] == ["sources.noise"]
    assert [(i.role, str(i.address), i.parts) for i in node.inputs] == [("data", "sources.photos", ("media",))]
    assert node.resources == Resources(gpus=1, min_gpus=1, cpus=4, memory_mib=15258)
    assert (node.timeout_s, node.retries, node.keep, node.description) == (5400, 2, 2, "the good one")
    assert node.resume == {"mode": "fast"}


def test_result_config_leaves_out_what_cannot_change_the_result(tmp_path: Path) -> None:
    node = node_of(loaded(tmp_path), "models.unet")
    assert node.result_config["train"] == {"epochs": 5, "lr": 0.001, "shuffle": True, "size": [8, 8]}
    assert not {"resources", "timeout", "retries", "description", "after"} & node.result_config.keys()


def test_declarations_are_resolved_and_only_their_result_counts(tmp_path: Path) -> None:
    node = node_of(loaded(tmp_path), "models.unet")
    assert node.declarations == {"palettes.p": {"names": ["blue", "red"], "note": "shown"}}
    assert node.result_config["palettes.p"] == {"names": ["blue", "red"]}


def test_the_seed_counts_for_kinds_that_use_it(tmp_path: Path) -> None:
    project = loaded(tmp_path)
    assert node_of(project, "sources.noise").result_config["project.seed"] == 7
    assert "project.seed" not in node_of(project, "sources.photos").result_config
    assert node_of(project, "sources.noise").marks["project.seed"].line == 3


def test_a_node_may_have_a_seed_of_its_own(tmp_path: Path) -> None:
    written = "{kind: numbers, count: 3, matrix: {seed: [7, 8]}, seed: '${matrix.seed}'}"
    text = TEXT.replace("{kind: numbers, count: 3}", written).replace("after: [sources.noise]", "after: []")
    project = loaded(tmp_path, text)
    other = node_of(project, "sources.noise[seed=8]")
    assert (other.result_config["seed"], other.seed, other.marks["seed"].line) == (8, 8, 12)
    assert "project.seed" not in other.result_config
    assert Node.from_json(other.to_json()).seed == 8


def test_marks_name_the_line_of_every_written_key(tmp_path: Path) -> None:
    marks = node_of(loaded(tmp_path), "models.unet").marks
    lines = {path: where.line for path, where in marks.items()}
    assert lines == {
        "": 14, "data": 15, "palette": 16, "train": 17, "train.epochs": 17, "train.workers": 17,
        "palettes.p": 9, "palettes.p.names": 9, "palettes.p.names.0": 9, "palettes.p.extends": 9,
    }  # fmt: skip


def test_comments_order_and_white_space_change_nothing_but_marks(tmp_path: Path) -> None:
    other = """
    # another order
    models:
      unet:
        after:
          - "sources.noise"
        description: 'the good one'   # a comment
        retries: 2
        timeout: "1h30m"
        resources: {cpus: 4.0, memory: 16GB, gpus: {min: 1}}
        train:
          workers: 8
          epochs: 5
        palette: palettes.p
        data: sources.photos
    sources: {noise: {count: 3, kind: numbers}, photos: {path: "x", kind: folder}}
    palettes: {p: {extends: base, names: [red]}, base: {names: ["blue"]}}
    settings: {retry: {max_attempts: 2}}
    project: {output_root: made, seed: 7, description: corals, name: reef}
    """
    first = {str(n.address): replace(n, marks={}) for n in loaded(tmp_path).nodes}
    second = {
        str(n.address): replace(n, marks={})
        for n in load(tmp_path, "specrun: 1\n" + other.replace("\n    ", "\n")).nodes
    }
    assert first == second


def test_nodes_come_in_an_order_in_which_they_can_run(tmp_path: Path) -> None:
    text = "project: {name: a}\nsteps:\n  a: {argv: [x], after: [steps.b]}\n  b: {argv: [x], inputs: {c: steps.c}}\n"
    text = (
        text.replace("steps.c", "sources.c") + "sources:\n  d: {kind: folder, path: x}\n  c: {kind: folder, path: x}\n"
    )
    assert [str(n.address) for n in loaded(tmp_path, text).nodes] == ["sources.d", "sources.c", "steps.b", "steps.a"]


def test_matrix_instances_have_their_values_and_addresses(tmp_path: Path) -> None:
    text = """
sources: {a: {kind: folder, path: x}}
project: {name: a}
models:
  m: {data: a, matrix: {e: [1, 2.5], fast: [true]}, train: {lr: "${matrix.e}"},
      description: "${matrix.e} ${matrix.fast}"}
"""
    nodes = loaded(tmp_path, text).nodes[1:]
    assert [str(n.address) for n in nodes] == ["models.m[e=1,fast=true]", "models.m[e=2.5,fast=true]"]
    assert [n.config["train"]["lr"] for n in nodes] == [1.0, 2.5]  # type: ignore[index, call-overload]
    assert nodes[1].description == "2.5 true"
    assert nodes[1].address.folder == "models/m/e=2.5/fast=true"


def test_resolved_yaml_can_be_read_again_and_shows_nothing_of_the_environment(tmp_path: Path) -> None:
    text = TEXT.replace("path: x", 'path: "${env.HOST}/x: #"')
    project = load(tmp_path, f"specrun: 1\n{text}", environ={"HOST": "hidden"})
    assert "hidden" not in project.resolved_yaml
    again = load(tmp_path, project.resolved_yaml, environ={"HOST": "hidden"})
    assert [replace(n, marks={}) for n in again.nodes] == [replace(n, marks={}) for n in project.nodes]


def test_nodes_survive_json(tmp_path: Path) -> None:
    for node in loaded(tmp_path).nodes:
        assert Node.from_json(node.to_json()) == node
    assert isinstance(node_of(loaded(tmp_path), "models.unet").inputs[0], Input)


def test_the_registry_and_the_project_model_import_no_pydantic() -> None:
    script = "import sys, specrun.kinds.registry, specrun.spec.compiled, specrun.spec.diagnostics\n"
    script += "print([m for m in ('pydantic', 'ruamel.yaml', 'numpy') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "[]\n"
