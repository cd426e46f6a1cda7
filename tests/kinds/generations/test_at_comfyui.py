from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from specrun.errors import FormatError, NodeError, StopRequested, TransientError
from specrun.kinds.generations.generation import Generation
from specrun.kinds.generations.spec import GenerationSpec
from specrun.model.address import parse_address
from specrun.model.artifact import Artifact, Outputs
from specrun.model.work import Made
from tests.doubles.comfyui import comfy_double
from tests.doubles.remote_faults import Fault
from tests.support.context import DictMemory, make_context
from tests.support.generate_and_die import FileMemory
from tests.support.remote_lora import FAST, comfy_declared
from tests.support.still_lookup import StillLookup
from tests.support.still_pictures import frames

CHECKPOINT = "tiny.safetensors"


def trained(folder: Path, name: str = "reef", content: bytes = b"weights") -> Made:
    folder.mkdir(parents=True, exist_ok=True)
    for file in ("lora.safetensors", "lora_kohya.safetensors"):
        (folder / file).write_bytes(content + file.encode())
    (folder / "lora.json").write_text(json.dumps({"family": "sd", "base_model": "b", "resolution": [64, 32]}))
    artifacts = (Artifact("lora", "checkpoint", "lora.safetensors"),)
    artifacts += (Artifact("kohya", "checkpoint", "lora_kohya.safetensors"),)
    return Made(parse_address(f"lora_jobs.{name}"), "lora_jobs.lora", folder, "d", artifacts=artifacts)


def generated(
    folder: Path,
    servers: Any,
    loras: Sequence[Made] = (),
    pictures: Made | None = None,
    *,
    max_jobs: int = 1,
    context: dict[str, Any] | None = None,
    **fields: Any,
) -> tuple[Outputs, Any]:
    backend = {"kind": "comfyui", "connection": "comfy", "checkpoint": "tiny", "poll": "30ms"}
    backend |= fields.pop("backend", {})
    given = {"prompts": ["reefx at dusk"], "steps": 2, "size": (64, 64), "backend": backend, **fields}
    urls = [server.url for server in (servers if isinstance(servers, list) else [servers])]
    values = {"settings": FAST, "declarations": comfy_declared(*urls, max_jobs=max_jobs), **(context or {})}
    made = {"lora": list(loras), "pictures": [pictures] if pictures else []}
    ctx = make_context(folder, "generations.x", made=made, **values)
    return Generation().run(GenerationSpec.model_validate(given), ctx), ctx


def images(ctx: Any) -> list[Path]:
    return sorted((ctx.staging / "images").glob("*.png"))


def logged(ctx: Any) -> str:
    return "\n".join(str(event) for event in ctx.events)


def workflows(server: Any) -> list[dict[str, Any]]:
    return [told["prompt"][2] for told in server.history.values()]


def nodes_of(workflow: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [node["inputs"] for node in workflow.values() if node["class_type"] == kind]


@pytest.mark.parametrize("version", ["0.28", "0.3.64"])
def test_every_prompt_is_made_with_every_seed(tmp_path: Path, version: str) -> None:
    with comfy_double(version=version, heard=True) as server:
        outputs, ctx = generated(tmp_path, server, prompts=["a", "b"], seeds=[1, 7], batch=3, negative_prompt="fog")
        samplers = [one for workflow in workflows(server) for one in nodes_of(workflow, "KSampler")]
        assert server.prompts == 2
    assert sorted(one["seed"] for one in samplers) == [1, 1, 7, 7]
    assert {one["sampler_name"] for one in samplers} == {"euler"}
    rows = [json.loads(line) for line in (ctx.staging / "generations.jsonl").read_text().splitlines()]
    assert [(row["prompt"], row["seed"], row["size"]) for row in rows[:2]] == [("a", 1, [64, 64]), ("a", 7, [64, 64])]
    with Image.open(images(ctx)[3]) as picture:
        assert (picture.info["prompt"], picture.info["seed"]) == ("b", "7")
        assert picture.info["base_model"] == "tiny"
    assert len({path.read_bytes() for path in images(ctx)}) == 4
    assert outputs.facts["made"] == 4
    assert (ctx.staging / "contact_sheet.png").is_file()
    assert not list(ctx.staging.glob("*.part"))


def test_a_picture_does_not_depend_on_the_batch_that_it_came_with(tmp_path: Path) -> None:
    with comfy_double() as server:
        _, one = generated(tmp_path / "a", server, count=3)
        _, three = generated(tmp_path / "b", server, count=3, batch=3)
    for left, right in zip(images(one), images(three), strict=True):
        assert left.name == right.name
        assert Image.open(left).tobytes() == Image.open(right).tobytes()


def test_progress_comes_in_parts_of_pictures(tmp_path: Path) -> None:
    with comfy_double(heard=True, pace=0.01) as server:
        _, ctx = generated(tmp_path, server, count=2, steps=20)
    told = [event.done for event in ctx.events if getattr(event, "unit", "") == "pictures"]
    assert any(0 < done < 1 for done in told)
    assert told == sorted(told)
    assert told[-1] <= 2


def test_weights_are_uploaded_once_and_loaded_with_their_strength(tmp_path: Path) -> None:
    loras = [trained(tmp_path / "one"), trained(tmp_path / "two", "coins", b"others")]
    written = [{"lora": "reef", "weight": 0.8}, {"lora": "coins", "weight": 0.4}]
    with comfy_double() as server:
        generated(tmp_path / "a", server, loras, lora=written)
        generated(tmp_path / "b", server, loras, lora=written)
        first, second = nodes_of(workflows(server)[0], "LoraLoader")
        assert len(server.book.asked("POST", "/upload/image")) == 2
        assert b"weightslora_kohya.safetensors" in server.outputs.values()
    assert (first["strength_model"], first["strength_clip"], second["strength_model"]) == (0.8, 0.8, 0.4)
    assert second["model"] == ["lora_0", 0]
    assert first["lora_name"].startswith("specrun/")


def test_the_prediction_that_weights_were_trained_for_is_told_to_the_server(tmp_path: Path) -> None:
    lora = trained(tmp_path / "one")
    told = json.loads((lora.folder / "lora.json").read_text())
    (lora.folder / "lora.json").write_text(
        json.dumps({**told, "prediction": "v_prediction", "zero_terminal_snr": True})
    )
    with comfy_double() as server:
        generated(tmp_path / "a", server, [lora], lora="reef")
        (workflow,) = workflows(server)
    (node,) = nodes_of(workflow, "ModelSamplingDiscrete")
    assert (node["model"], node["sampling"], node["zsnr"]) == (["lora_0", 0], "v_prediction", True)
    assert [one["model"] for one in nodes_of(workflow, "KSampler")] == [["prediction", 0]]
    with comfy_double() as server:
        generated(tmp_path / "b", server, [trained(tmp_path / "two")], lora="reef")
        assert not nodes_of(workflows(server)[0], "ModelSamplingDiscrete")


@pytest.mark.parametrize(("zero_snr", "asked"), [(False, []), (True, ["v_prediction"])])
def test_a_prediction_that_nobody_tells_is_left_to_the_checkpoint(
    tmp_path: Path, zero_snr: bool, asked: list[str]
) -> None:
    with comfy_double() as server:
        generated(tmp_path, server, zero_terminal_snr=zero_snr)
        (workflow,) = workflows(server)
    assert [one["sampling"] for one in nodes_of(workflow, "ModelSamplingDiscrete")] == asked


def test_weights_that_the_server_has_already_are_named(tmp_path: Path) -> None:
    with comfy_double(loras=["styles\\ink.safetensors"]) as server:
        generated(tmp_path, server, backend={"loras": [{"file": "ink", "weight": -0.5}]})
        (loader,) = nodes_of(workflows(server)[0], "LoraLoader")
        assert (loader["lora_name"], loader["strength_model"]) == ("styles\\ink.safetensors", -0.5)
        with pytest.raises(NodeError, match="no LoRA file oil") as caught:
            generated(tmp_path, server, backend={"loras": [{"file": "oil"}]})
    assert "models/loras" in str(caught.value.hint)


def test_the_size_is_that_of_the_first_loras_pictures(tmp_path: Path) -> None:
    with comfy_double() as server:
        _, ctx = generated(tmp_path, server, [trained(tmp_path / "job")], lora="reef", size=None)
    assert Image.open(images(ctx)[0]).size == (64, 32)


@pytest.mark.parametrize(
    ("values", "message"),
    [({"lists_uploads": False}, "does not list the LoRA file"), ({"max_upload": 10}, "takes no upload of reef")],
)
def test_a_server_that_takes_no_weights_says_where_to_put_them(
    tmp_path: Path, values: dict[str, Any], message: str
) -> None:
    with comfy_double(**values) as server:
        with pytest.raises(NodeError, match=message) as caught:
            generated(tmp_path, server, [trained(tmp_path / "job")], lora="reef")
        hint = str(caught.value.hint)
        name = hint.split(" as ")[1].split(",")[0]
        assert "models/loras" in hint
        server.loras.append(f"by_hand/{name}")
        outputs, _ = generated(tmp_path, server, [trained(tmp_path / "job")], lora="reef")
    assert outputs.facts["made"] == 1


def test_weights_that_fit_no_layer_are_told_of(tmp_path: Path) -> None:
    with comfy_double(unmatched=("lora_unet_x.alpha", "lora_unet_y.alpha")) as server:
        outputs, _ = generated(tmp_path, server, [trained(tmp_path / "job")], lora="reef")
    assert "at least 2 weights of LoRAs fit no layer of tiny, such as lora_unet_x.alpha" in outputs.notes[0]


def test_weights_of_flux_are_left_to_diffusers(tmp_path: Path) -> None:
    lora = trained(tmp_path / "job")
    (lora.folder / "lora.json").write_text(json.dumps({"family": "flux", "resolution": [64, 64]}))
    with comfy_double() as server, pytest.raises(FormatError, match="was trained on FLUX"):
        generated(tmp_path, server, [lora], lora="reef")


def test_frames_are_changed_one_by_one_and_become_films(tmp_path: Path) -> None:
    fields = {"from": "sources.dive", "size": None, "strength": 0.5, "steps": 10, "count": 2, "video": {"fps": 5}}
    with comfy_double() as server:
        outputs, ctx = generated(tmp_path, server, (), frames(tmp_path), **fields)
        samplers = [one for workflow in workflows(server) for one in nodes_of(workflow, "KSampler")]
        uploads = server.book.asked("POST", "/upload/image")
    assert {(one["steps"], one["denoise"]) for one in samplers} == {(5, 0.5)}
    assert len(uploads) == 2
    assert [Image.open(path).size for path in images(ctx)] == [(64, 64), (72, 64)] * 2
    assert outputs.facts["sources"] == 2
    films = sorted(path.name for path in (ctx.staging / "videos").iterdir())
    assert films == ["seed_42.mp4", "seed_43.mp4"]


def test_only_missing_pictures_are_made(tmp_path: Path) -> None:
    with comfy_double() as server:
        _, first = generated(tmp_path / "a", server, count=2)
        outputs, second = generated(tmp_path / "b", server, count=3, context={"previous": first.staging})
        assert outputs.facts["made"] == 1
        assert server.prompts == 3
        more = {"count": 3, "backend": {"loras": [{"file": "ink"}]}}
        server.loras.append("ink.safetensors")
        outputs, _ = generated(tmp_path / "c", server, context={"previous": second.staging}, **more)
    assert outputs.facts["made"] == 3


def test_a_stopped_run_cancels_its_prompts_and_nobody_elses(tmp_path: Path) -> None:
    memory = DictMemory()
    with comfy_double() as server:
        server.gate.clear()
        other = server.queue({"x": {"class_type": "PreviewImage", "inputs": {}}}, {}, "somebody")
        with pytest.raises(StopRequested):
            generated(tmp_path, server, context={"stop": lambda: server.prompts == 2, "memory": memory})
        assert server.running is not None
        assert server.running.id == other.id
        assert not other.interrupted
        assert not server.waiting
    assert memory.recall("generations.x", "comfy_prompts") is None


def test_a_stopped_run_interrupts_what_it_runs(tmp_path: Path) -> None:
    with comfy_double() as server:
        server.gate.clear()
        with pytest.raises(StopRequested):
            generated(tmp_path, server, context={"stop": lambda: server.running is not None})
        server.gate.set()
        assert [told["status"]["status_str"] for told in server.history.values()] in ([], ["error"])
        assert len(server.book.asked("POST", "/interrupt")) == 1


def test_a_run_that_was_killed_takes_its_prompts_up_again(tmp_path: Path) -> None:
    memory = tmp_path / "memory.json"
    with comfy_double() as server:
        server.gate.clear()
        command = [sys.executable, "-m", "tests.support.generate_and_die", str(tmp_path), server.url]
        died = subprocess.run(command, cwd=Path(__file__).parents[3], capture_output=True, timeout=120)
        assert died.returncode == -9, died.stderr.decode()
        held = FileMemory(memory).recall("", "")
        assert len(held["prompts"]) == 2
        assert held["prompts"][1]["id"] == ""  # killed between the submission and the note of its id
        server.gate.set()
        outputs, ctx = generated(tmp_path, server, count=3, max_jobs=2, context={"memory": FileMemory(memory)})
        assert server.prompts == 3
    assert outputs.facts["made"] == 3
    assert logged(ctx).count("is taken up") == 2
    assert FileMemory(memory).recall("", "") is None


def test_a_prompt_whose_answer_was_lost_is_found_and_not_sent_again(tmp_path: Path) -> None:
    with comfy_double() as server:
        server.book.faults = [Fault("POST", "/prompt", drop=True, after=True)]
        generated(tmp_path, server)
        assert server.prompts == 1


def test_a_prompt_of_an_earlier_run_that_nobody_wants_any_more_is_cancelled(tmp_path: Path) -> None:
    memory = DictMemory()
    with comfy_double() as server:
        server.gate.clear()
        with pytest.raises(NodeError, match="deadline"):
            generated(tmp_path, server, context={"memory": memory}, backend={"deadline": "100ms"})
        first = server.running
        server.gate.set()
        outputs, ctx = generated(tmp_path, server, seed=9, context={"memory": memory})
        assert first is not None
        assert first.interrupted or first.id in server.history
    assert "is not wanted any more" in logged(ctx)
    assert outputs.facts["made"] == 1


def test_a_server_that_was_restarted_is_asked_again_but_not_for_ever(tmp_path: Path) -> None:
    with comfy_double() as server:
        server.gate.clear()
        restarts = iter(range(100))

        def restart_once() -> bool:
            if server.running is not None and next(restarts) == 20:
                server.restart()
                server.gate.set()
            return False

        outputs, ctx = generated(tmp_path, server, context={"stop": restart_once})
        assert server.prompts == 2
    assert "has forgotten prompt" in logged(ctx)
    assert outputs.facts["made"] == 1
    with comfy_double() as server:
        server.gate.clear()

        def always() -> bool:
            if server.running is not None:
                server.restart()
            return False

        with pytest.raises(NodeError, match="has forgotten the same pictures 3 times"):
            generated(tmp_path / "b", server, context={"stop": always})


def test_a_pool_shares_the_work_and_does_without_one_that_is_away(tmp_path: Path) -> None:
    class Away:
        url = "http://127.0.0.1:9"

    with comfy_double(pace=0.02) as one, comfy_double(pace=0.02) as two:
        outputs, _ = generated(tmp_path, [Away, one, two], count=6, steps=4)
        assert one.prompts + two.prompts == 6
        assert min(one.prompts, two.prompts) >= 2
    assert outputs.facts["made"] == 6
    with pytest.raises(TransientError, match="refuses connections"):
        generated(tmp_path / "b", [Away])


def test_a_server_that_is_away_for_a_while_is_waited_for(tmp_path: Path) -> None:
    with comfy_double() as server:
        server.book.faults = [Fault("GET", "/history/.*", 503, times=5)]
        outputs, ctx = generated(tmp_path, server)
    assert outputs.facts["made"] == 1
    assert "paused" in logged(ctx)


@pytest.mark.parametrize(
    ("values", "message", "hint"),
    [
        ({"outcome": "error"}, "failed: KSampler: CUDA out of memory", "Lower size"),
        ({"outcome": "nothing"}, "ended without a picture", "console"),
    ],
)
def test_what_goes_wrong_at_the_server_is_told(tmp_path: Path, values: dict[str, Any], message: str, hint: str) -> None:
    with comfy_double(**values) as server, pytest.raises(NodeError, match=message) as caught:
        generated(tmp_path, server)
    assert hint in str(caught.value.hint)


def test_a_file_that_is_no_picture_is_named(tmp_path: Path) -> None:
    with comfy_double() as server:
        server.book.faults = [Fault("GET", "/view", 200, b"<html>", times=9)]
        with pytest.raises(FormatError, match="is no picture"):
            generated(tmp_path, server)


def test_what_a_server_lacks_is_told_before_anything_is_sent(tmp_path: Path) -> None:
    with comfy_double() as server:
        with pytest.raises(NodeError, match="no checkpoint other") as caught:
            generated(tmp_path, server, backend={"checkpoint": "other"})
        assert CHECKPOINT in str(caught.value.hint)
        server.nodes["KSampler"]["input"]["required"]["sampler_name"][0].remove("uni_pc")
        with pytest.raises(NodeError, match="knows no uni_pc"):
            generated(tmp_path, server, scheduler="unipc")
        del server.nodes["KSampler"]
        with pytest.raises(NodeError, match="has no KSampler"):
            generated(tmp_path, server)
        assert server.prompts == 0


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"size": None}, "size"),
        ({"size": (8, 64)}, "size"),
        ({"scheduler": "pndm"}, "scheduler"),
        ({"precision": "fp16"}, "precision"),
        ({"backend": {"kind": "comfyui", "connection": "hub", "checkpoint": "x"}}, "backend.connection"),
    ],
)
def test_what_cannot_be_at_a_server_is_a_problem_of_the_spec(fields: dict[str, Any], path: str) -> None:
    backend = {"kind": "comfyui", "connection": "comfy", "checkpoint": "x"}
    kinds = {"connections.comfy": "connections.comfyui", "connections.hub": "connections.huggingface"}
    given = {"prompts": ["a"], "size": (64, 64), "backend": backend}
    plain = GenerationSpec.model_validate(given)
    assert not Generation().check(plain, StillLookup(kinds))
    spec = GenerationSpec.model_validate({**given, **fields})
    assert [problem.path for problem in Generation().check(spec, StillLookup(kinds))] == [path]
