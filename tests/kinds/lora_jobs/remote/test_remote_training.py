from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from PIL import Image
from safetensors import safe_open

from specrun.errors import CredentialsError, FormatError, NodeError, StopRequested
from specrun.kinds.lora_jobs.lora import LoraJob, remote_config
from specrun.kinds.lora_jobs.remote import comfyui, replicate
from specrun.kinds.lora_jobs.remote.backends import over_budget, remote_problems
from specrun.kinds.lora_jobs.spec import LoraJobSpec
from tests.doubles.comfyui import comfy_double
from tests.doubles.remote_faults import Fault
from tests.doubles.replicate import replicate_double
from tests.support.context import DictMemory
from tests.support.look import make_look
from tests.support.remote_lora import (
    cloud_declared,
    cloud_spec,
    comfy_declared,
    comfy_spec,
    comfy_weights,
    context,
    job,
    old_diffusers_tar,
)
from tests.support.submit_and_die import FileMemory

SECRETS = {'{"env":"REPLICATE_API_TOKEN"}': "r8-secret"}


def at_comfy(folder: Path, server: Any, **changes: Any) -> Any:
    spec = comfy_spec(**changes.pop("spec", {}))
    ctx = context(folder, changes.pop("declared", comfy_declared(server.url)), **changes)
    return comfyui.train(spec, spec.backend, job(folder, spec, ctx), ctx), ctx  # type: ignore[arg-type]


def at_cloud(folder: Path, server: Any, **changes: Any) -> Any:
    spec = cloud_spec(**changes.pop("spec", {}))
    ctx = context(folder, cloud_declared(server.url), **{"secrets": SECRETS, **changes})
    return replicate.train(spec, spec.backend, job(folder, spec, ctx), ctx), ctx  # type: ignore[arg-type]


def logged(ctx: Any) -> str:
    return "\n".join(str(event) for event in ctx.events)


def test_comfyui_gets_images_with_captions_and_gives_weights_in_both_formats(tmp_path: Path) -> None:
    with comfy_double(weights=comfy_weights(), heard=True) as server:
        outputs, ctx = at_comfy(tmp_path, server)
        captions = [content for (_, name), content in server.inputs.items() if name.endswith(".txt")]
    assert sorted(captions) == [b"a reef, number 0", b"a reef, number 1", b"a reef, number 2"]
    assert {one.name for one in outputs.artifacts} >= {"lora", "kohya", "model"}
    with safe_open(ctx.staging / "lora_kohya.safetensors", "pt") as file:
        names = list(file.keys())
    assert any(name.startswith("lora_unet_") and name.endswith("to_k.alpha") for name in names)
    assert "1 changes of norms and biases" in " ".join(outputs.notes)
    assert "phase='running'" in logged(ctx)


@pytest.mark.parametrize(("version", "saver"), [("0.28", "SaveLoRA"), ("0.3.64", "SaveLoRANode")])
def test_old_and_new_servers_train_and_tell_the_loss(tmp_path: Path, version: str, saver: str) -> None:
    with comfy_double(weights=comfy_weights(), heard=True, version=version, pace=0.1) as server:
        spec = {"max_steps": 10, "backend": {"poll": "30ms"}}
        outputs, ctx = at_comfy(tmp_path, server, spec=spec)
        (prompt,) = server.history.values()
    assert prompt["prompt"][2]["save"]["class_type"] == saver
    losses = (ctx.staging / "metrics.csv").read_text().splitlines()[1:]
    assert losses[-1] == "10,0.1"
    assert len(losses) > 3
    steps = [event.done for event in ctx.events if getattr(event, "phase", "") == "running"]
    assert any(0 < step < 10 for step in steps)
    assert outputs.facts["steps"] == 10


def test_a_server_that_hides_its_console_trains_all_the_same(tmp_path: Path) -> None:
    with comfy_double(weights=comfy_weights(), console=False) as server:
        _, ctx = at_comfy(tmp_path, server)
        assert len(server.book.asked("GET", "/internal/logs/raw")) == 1
    assert (ctx.staging / "metrics.csv").read_text().splitlines() == ["step,train/loss"]


def test_what_a_server_printed_of_an_earlier_job_is_no_loss_of_this_one(tmp_path: Path) -> None:
    with comfy_double(weights=comfy_weights(), version="0.3.64", pace=0.1) as server:
        server.write("\rTraining LoRA: 100%|###| 3/3 [00:09<00:00,  3.00s/it, loss=9.0000]\n")
        _, ctx = at_comfy(tmp_path, server)
    assert "9.0" not in (ctx.staging / "metrics.csv").read_text()


def test_an_old_server_gets_pictures_of_one_size_and_a_new_one_those_of_the_buckets(tmp_path: Path) -> None:
    for version, sizes in (("0.3.64", {(64, 64)}), ("0.28", {(64, 64), (96, 32)})):
        with comfy_double(weights=comfy_weights(), version=version) as server:
            at_comfy(tmp_path / version, server, spec={"bucketing": True})
            found = {
                Image.open(io.BytesIO(png)).size for (_, name), png in server.inputs.items() if name.endswith("png")
            }
        assert found == sizes


def test_one_step_draws_no_graph_which_the_server_cannot(tmp_path: Path) -> None:
    with comfy_double(weights=comfy_weights()) as server:
        at_comfy(tmp_path, server, spec={"max_steps": 1})
        (prompt,) = server.history.values()
    assert "graph" not in prompt["prompt"][2]


def test_a_workflow_that_a_server_refuses_is_told_node_by_node(tmp_path: Path) -> None:
    with comfy_double() as server:
        server.nodes["SaveLoRA"]["input"]["required"]["licence"] = ["STRING", {}]
        with pytest.raises(NodeError, match="SaveLoRA: Required input is missing: licence"):
            at_comfy(tmp_path, server)
        assert server.prompts == 0


def test_the_scale_of_delivered_weights_survives_both_formats(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load, load_file

    with comfy_double(weights=comfy_weights(rank=4)) as server:
        _, ctx = at_comfy(tmp_path, server)
    start = "diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k"
    given = load(comfy_weights(rank=4))
    wanted = given[f"{start}.lora_up.weight"] @ given[f"{start}.lora_down.weight"] * (1.0 / 4)
    peft = load_file(ctx.staging / "lora.safetensors")
    layer = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"
    assert torch.allclose(peft[f"{layer}.lora_B.weight"] @ peft[f"{layer}.lora_A.weight"], wanted, atol=1e-6)
    kohya = load_file(ctx.staging / "lora_kohya.safetensors")
    name = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
    scale = float(kohya[f"{name}.alpha"]) / 4
    assert torch.allclose(
        kohya[f"{name}.lora_up.weight"] @ kohya[f"{name}.lora_down.weight"] * scale, wanted, atol=1e-6
    )


def test_a_server_without_training_nodes_is_told_before_anything_is_uploaded(tmp_path: Path) -> None:
    with comfy_double() as server:
        del server.nodes["TrainLoraNode"]
        with pytest.raises(NodeError, match="no TrainLoraNode, so it cannot train"):
            at_comfy(tmp_path, server)
        assert not server.inputs
        assert server.prompts == 0


def test_a_checkpoint_that_the_server_lacks_lists_those_that_it_has(tmp_path: Path) -> None:
    with comfy_double() as server, pytest.raises(NodeError, match="no checkpoint other") as caught:
        at_comfy(tmp_path, server, spec={"backend": {"checkpoint": "other"}})
    assert "tiny.safetensors" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"outcome": "error"}, "failed: TrainLoraNode: CUDA out of memory"),
        ({"outcome": "nothing"}, "ended without weights"),
    ],
)
def test_a_prompt_that_gives_no_weights_is_a_clear_error(tmp_path: Path, values: dict[str, Any], message: str) -> None:
    with comfy_double(**values) as server, pytest.raises(NodeError, match=message):
        at_comfy(tmp_path, server)


@pytest.mark.parametrize("body", [b"<html>hello</html>", b"[]", b'{"queue_running": 3}'])
def test_a_comfyui_server_that_answers_nonsense_is_named(tmp_path: Path, body: bytes) -> None:
    with comfy_double() as server:
        server.book.faults = [Fault("GET", "/queue", 200, body, times=99)]
        with pytest.raises(NodeError, match="is not what such a server says"):
            at_comfy(tmp_path, server)


@pytest.mark.parametrize("names_prompts", [True, False])
def test_a_prompt_whose_answer_was_lost_is_found_and_not_queued_again(tmp_path: Path, names_prompts: bool) -> None:
    with comfy_double(weights=comfy_weights(), names_prompts=names_prompts) as server:
        server.book.faults = [Fault("POST", "/prompt", drop=True, after=True)]
        at_comfy(tmp_path, server)
        assert server.prompts == 1


def test_server_errors_while_waiting_pass(tmp_path: Path) -> None:
    with comfy_double(weights=comfy_weights()) as server:
        server.book.faults = [Fault("GET", "/history/.*", 503, times=5)]
        _, ctx = at_comfy(tmp_path, server)
    assert "paused" in logged(ctx)


def test_a_stopped_run_interrupts_its_own_prompt_and_nobody_elses(tmp_path: Path) -> None:
    with comfy_double(weights=comfy_weights()) as server:
        server.gate.clear()
        other = server.queue({"x": {"class_type": "PreviewImage", "inputs": {}}}, {}, "somebody")
        with pytest.raises(StopRequested):
            at_comfy(tmp_path, server, stop=lambda: server.prompts == 2)
        assert server.running is not None
        assert server.running.id == other.id
        assert not other.interrupted
        assert not server.waiting


def test_a_prompt_that_hangs_is_reported_with_its_id(tmp_path: Path) -> None:
    with comfy_double() as server:
        server.gate.clear()
        with pytest.raises(NodeError, match=r"job [0-9a-f-]{36} is still") as caught:
            at_comfy(tmp_path, server, spec={"backend": {"deadline": "200ms"}})
    assert "raise backend.deadline" in str(caught.value.hint)


def test_of_a_pool_the_server_with_least_to_do_is_chosen_and_one_that_is_away_left_out(tmp_path: Path) -> None:
    with comfy_double() as busy, comfy_double(weights=comfy_weights()) as free:
        busy.gate.clear()
        busy.queue({"x": {"class_type": "PreviewImage", "inputs": {}}}, {}, "somebody")
        declared = comfy_declared("http://127.0.0.1:9", busy.url, free.url)
        at_comfy(tmp_path, free, declared=declared)
        assert (busy.prompts, free.prompts) == (1, 1)


def test_replicate_gets_captions_and_the_token_never_leaves_its_host(tmp_path: Path) -> None:
    with replicate_double(weights=old_diffusers_tar()) as server:
        outputs, ctx = at_cloud(tmp_path, server)
        names = zipfile.ZipFile(io.BytesIO(server.files["file0"])).namelist()
        assert all("authorization" not in one.headers for one in server.delivery.seen)
        assert server.delivery.seen
        values = server.trainings["training0"]["input"]
    assert names == ["00000.png", "00000.txt", "00001.png", "00001.txt", "00002.png", "00002.txt"]
    assert values["max_train_steps"] == 20
    assert values["lora_rank"] == 4
    assert outputs.facts["family"] == "sdxl"
    assert outputs.facts["cost"] == pytest.approx(120 * 0.0014)
    assert "0.125" in (ctx.staging / "metrics.csv").read_text()
    assert json.loads((ctx.staging / "lora.json").read_text())["trained_at"]["job"] == "training0"


def test_a_training_whose_start_was_not_answered_is_found_and_not_started_again(tmp_path: Path) -> None:
    for number, fault in enumerate(
        (Fault("POST", ".*/trainings", drop=True, after=True), Fault("POST", ".*/trainings", 502, after=True))
    ):
        with replicate_double(weights=old_diffusers_tar()) as server:
            server.book.faults = [fault]
            at_cloud(tmp_path / str(number), server)
            assert len(server.trainings) == 1


@pytest.mark.parametrize(
    ("values", "kind", "message"),
    [
        ({"course": ("starting", "failed"), "error": "no face found"}, NodeError, "failed: no face found"),
        ({"course": ("starting", "canceled")}, NodeError, "cancelled"),
        ({"output": {"version": "x"}}, NodeError, "ended without weights"),
        ({"weights": b"<html>gone</html>"}, FormatError, "no .safetensors file"),
        ({"course": ("starting", "dancing")}, NodeError, "is not what such a server says"),
        ({"token": "another"}, CredentialsError, "refuses the token"),
    ],
)
def test_what_goes_wrong_at_replicate_is_told(tmp_path: Path, values: dict[str, Any], kind: Any, message: str) -> None:
    with replicate_double(**{"weights": old_diffusers_tar(), **values}) as server, pytest.raises(kind, match=message):
        at_cloud(tmp_path, server)


def test_a_stopped_run_cancels_its_training_and_forgets_it(tmp_path: Path) -> None:
    memory = DictMemory()
    with replicate_double(course=("processing",)) as server:
        with pytest.raises(StopRequested):
            at_cloud(tmp_path, server, memory=memory, stop=lambda: bool(server.trainings))
        assert server.trainings["training0"]["status"] == "canceled"
    assert memory.recall("lora_jobs.reef", "remote_job") is None


@pytest.mark.parametrize("kind", ["comfyui", "replicate"])
def test_a_worker_killed_before_it_noted_the_id_finds_its_job_again(tmp_path: Path, kind: str) -> None:
    double: Any = comfy_double if kind == "comfyui" else replicate_double
    with double(weights=comfy_weights() if kind == "comfyui" else old_diffusers_tar()) as server:
        command = [sys.executable, "-m", "tests.support.submit_and_die", str(tmp_path), kind, server.url]
        died = subprocess.run(command, cwd=Path(__file__).parents[4], capture_output=True, timeout=120)
        assert died.returncode == -9, died.stderr.decode()
        held = FileMemory(tmp_path / "memory.json")
        assert held.recall("", "")["id"] == ""
        run: Any = at_comfy if kind == "comfyui" else at_cloud
        _, ctx = run(tmp_path, server, memory=held)
        assert (server.prompts if kind == "comfyui" else len(server.trainings)) == 1
        assert (ctx.staging / "lora.safetensors").is_file()


@pytest.mark.parametrize("kind", ["comfyui", "replicate"])
def test_a_training_counts_as_used_only_once_it_is_published(tmp_path: Path, kind: str) -> None:
    """A kill between the end of the work and the publishing must not cost a second training; --replace shall."""
    double: Any = comfy_double if kind == "comfyui" else replicate_double
    run: Any = at_comfy if kind == "comfyui" else at_cloud
    memory = DictMemory()
    with double(weights=comfy_weights() if kind == "comfyui" else old_diffusers_tar()) as server:
        _, ctx = run(tmp_path, server, memory=memory)
        made = ctx.staging.rename(tmp_path / "made")
        assert submitted(server) == 1
        _, ctx = run(tmp_path, server, memory=memory)
        assert submitted(server) == 1
        assert (ctx.staging / "lora.safetensors").is_file()
        run(tmp_path, server, memory=memory, previous=made)
        assert submitted(server) == 2


def submitted(server: Any) -> int:
    return server.prompts if hasattr(server, "prompts") else len(server.trainings)


def test_a_training_whose_weights_are_gone_is_given_up(tmp_path: Path) -> None:
    memory = DictMemory()
    with replicate_double(weights=old_diffusers_tar()) as server:
        server.delivery.faults = [Fault("GET", ".*", 404)]
        with pytest.raises(NodeError, match="the weights of training training0 are gone") as caught:
            at_cloud(tmp_path, server, memory=memory)
        assert "costs again" in str(caught.value.hint)
        at_cloud(tmp_path, server, memory=memory)
        assert len(server.trainings) == 2


def test_a_training_that_the_account_does_not_know_is_given_up_by_a_person_alone(tmp_path: Path) -> None:
    """It may be another account's token, and a training costs."""
    memory = DictMemory()
    told = {"key": "k", "place": "", "marker": "m", "id": "training-of-another"}
    with replicate_double(weights=old_diffusers_tar()) as server:
        memory.remember("lora_jobs.reef", "remote_job", {**told, "place": server.url})
        for _ in range(2):
            with pytest.raises(NodeError, match="training-of-another of an earlier run is not known") as caught:
                at_cloud(tmp_path, server, memory=memory)
            assert "specrun apply --replace lora_jobs.reef" in str(caught.value.hint)
        assert not server.trainings
        at_cloud(tmp_path, server, memory=memory, replaced=True)
        assert len(server.trainings) == 1


def test_a_training_at_another_address_is_given_up_by_a_person_alone(tmp_path: Path) -> None:
    memory = DictMemory()
    told = {"key": "k", "place": "http://127.0.0.1:9", "marker": "m", "id": "training-elsewhere"}
    with replicate_double(weights=old_diffusers_tar()) as server:
        memory.remember("lora_jobs.reef", "remote_job", told)
        with pytest.raises(NodeError, match="training-elsewhere of an earlier run was started at"):
            at_cloud(tmp_path, server, memory=memory)
        assert not server.trainings
        at_cloud(tmp_path, server, memory=memory, replaced=True)
        assert len(server.trainings) == 1


def test_replicate_takes_a_step_for_each_batch(tmp_path: Path) -> None:
    """Its trainers do not accumulate, whatever the default is here."""
    with replicate_double(weights=old_diffusers_tar()) as server:
        spec = {"max_steps": None, "epochs": 10, "batch": 1, "gradient_accumulation": 4}
        outputs, _ = at_cloud(tmp_path, server, spec=spec)
        assert server.trainings["training0"]["input"]["max_train_steps"] == 30
    assert outputs.facts["steps"] == 30


def test_a_training_above_the_budget_is_not_started(tmp_path: Path) -> None:
    """By what the last one took, in proportion to the steps."""
    told = {"trained_at": {"job": "old", "billed_seconds": 3600.0}, "steps": 20}
    (tmp_path / "lora.json").write_text(json.dumps(told))
    backend = {"budget": {"max_cost": 1.0}, "expected": "1m", "price_per_second": 0.001}
    with replicate_double(weights=old_diffusers_tar()) as server:
        with pytest.raises(NodeError, match=r"estimated at \$3\.60 .* above max_cost \$1\.00"):
            at_cloud(tmp_path / "a", server, spec={"backend": backend}, previous=tmp_path)
        assert not server.trainings
        assert not server.files
        at_cloud(tmp_path / "b", server, spec={"backend": backend, "max_steps": 5}, previous=tmp_path)


def test_a_budget_does_not_stop_the_plan_of_a_job_that_is_as_it_was(tmp_path: Path) -> None:
    backend = {"budget": {"max_cost": 1.0}, "expected": "1m", "price_per_second": 0.001}
    spec = cloud_spec(backend=backend)
    facts: Any = {"billed_seconds": 3600.0, "steps": 20, "images": 3}
    look = make_look(tmp_path, "lora_jobs.reef", observed={"base_model": "org/sdxl"})
    assert look.record is not None
    record = replace(look.record, facts=facts, result_config=remote_config(spec))

    def notes(changed: LoraJobSpec) -> Any:
        return anyio.run(LoraJob().observe, changed, replace(look, record=record)).foreseen

    assert "above max_cost $1.00" in notes(spec)[0]
    with pytest.raises(NodeError, match="above max_cost"):
        notes(cloud_spec(backend=backend, rank=8))
    assert "about $0.90" in notes(cloud_spec(backend=backend, max_steps=5))[0]


class Nothing:
    """A spec without other entries."""

    project_dir = Path()

    def spec(self, address: str) -> None:
        return None

    def kind_of(self, address: str) -> None:
        return None


def test_how_pictures_are_cut_counts_wherever_they_are_learnt() -> None:
    spec = cloud_spec(bucket_step=16, bucketing=True, ema=0.9)
    found = {one.path: one.message for one in remote_problems(spec, spec.backend, Nothing())}  # type: ignore[arg-type]
    assert "bucket" not in found["backend"]
    assert "ema" in found["backend"]


def test_a_budget_below_the_estimate_is_a_problem_of_the_spec() -> None:
    spec = cloud_spec(backend={"budget": {"max_cost": 1.0}, "expected": "30m", "price_per_second": 0.001})
    found = {one.path: one.message for one in remote_problems(spec, spec.backend, Nothing())}  # type: ignore[arg-type]
    assert "$1.80" in found["backend.budget"]
    assert over_budget(spec.backend, measured_s=900.0) is None  # type: ignore[arg-type]
