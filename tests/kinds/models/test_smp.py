"""What is told before anything is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from specrun.kinds.models.smp import Smp
from specrun.kinds.models.smp_spec import SmpSpec, result_config
from specrun.training.smp.checkpoints import LAST, TrainingState
from specrun.training.smp.names import architectures

pytestmark = pytest.mark.skipif(not architectures(), reason="the extra smp is not installed")


class _Lookup:
    def __init__(self, folder: Path, kind: str = "exports.mmseg") -> None:
        self.project_dir = folder
        self.kind = kind

    def spec(self, address: str) -> Any:
        return None

    def kind_of(self, address: str) -> str | None:
        return {"exports.masks": self.kind, "models.yolo": "models.ultralytics"}.get(address)


def _problems(folder: Path, kind: str = "exports.mmseg", **spec: Any) -> list[tuple[str, str]]:
    found = Smp().check(SmpSpec(**{"data": "masks", **spec}), _Lookup(folder, kind))
    return [
        (problem.path, f"{problem.message} {problem.hint or ''}".strip()) for problem in found if not problem.warning
    ]


@pytest.mark.parametrize(
    ("arch", "encoder"),
    [
        ("Unet", "resnet34"),
        ("unet", "mit_b0"),
        ("Segformer", "tu-convnext_tiny.fb_in22k"),
        ("DPT", "tu-vit_small_patch14_dinov2.lvd142m"),
        ("FPN", "timm-mobilenetv3_small_minimal_100"),
    ],
)
def test_what_the_installed_release_offers_has_no_problem(tmp_path: Path, arch: str, encoder: str) -> None:
    assert _problems(tmp_path, arch=arch, encoder=encoder) == []


@pytest.mark.parametrize(
    ("spec", "path", "message"),
    [
        ({"arch": "Unett"}, "arch", 'no architecture "Unett". Did you mean "Unet"?'),
        ({"encoder": "resnet81"}, "encoder", 'Did you mean "resnet18"?'),
        ({"encoder": "convnext_tiny"}, "encoder", 'Did you mean "tu-convnext_tiny"?'),
        ({"encoder": "tu-resnet18.a9_in1k"}, "encoder", "tu-resnet18.a"),
        ({"encoder": "tu-vit_small_patch16_224"}, "encoder", "Write arch: DPT"),
        ({"arch": "DPT", "encoder": "resnet34"}, "encoder", "DPT takes vision transformers"),
        ({"encoder_weights": "imagenett"}, "encoder_weights", 'Did you mean "imagenet"?'),
        ({"train": {"optimizer": {"name": "adamv"}}}, "train.optimizer.name", 'Did you mean "Adam'),
        ({"train": {"optimizer": {"name": "adma"}}}, "train.optimizer.name", 'Did you mean "Adam"?'),
        ({"train": {"optimizer": {"name": "lbfgs"}}}, "train.optimizer.name", "LBFGS cannot train this model"),
        ({"train": {"optimizer": {"name": "SparseAdam"}}}, "train.optimizer.name", "Write adamw, or sgd."),
        ({"train": {"optimizer": {"name": "muon"}}}, "train.optimizer.name", "takes matrices alone"),
        (
            {"train": {"optimizer": {"options": {"beta": [0.9, 0.99]}}}},
            "train.optimizer.options.beta",
            'AdamW has no argument "beta". Did you mean "betas"?',
        ),
        (
            {"train": {"optimizer": {"options": {"betas": [0.9]}}}},
            "train.optimizer.options.betas",
            "must be a list of 2 numbers, not [0.9].",
        ),
        ({"train": {"optimizer": {"options": {"lr": 0.1}}}}, "train.optimizer.options.lr", "Write `lr` beside"),
        (
            {"train": {"optimizer": {"name": "sgd", "options": {"nesterov": "yes"}}}},
            "train.optimizer.options.nesterov",
            'must be true or false, not "yes"',
        ),
        ({"train": {"optimizer": {"name": "rprop", "weight_decay": 0.1}}}, "train.optimizer.weight_decay", "Rprop has"),
        ({"train": {"scheduler": {"name": "StepLR"}}}, "train.scheduler", "StepLR needs step_size. Write options: {"),
        (
            {"train": {"scheduler": {"name": "step_lr", "options": {"step_size": 3, "gama": 0.5}}}},
            "train.scheduler.options.gama",
            'Did you mean "gamma"?',
        ),
        (
            {"train": {"scheduler": {"name": "StepLR", "options": {"step_size": "3"}}}},
            "train.scheduler.options.step_size",
            'step_size of StepLR must be a whole number, not "3".',
        ),
        ({"train": {"scheduler": {"name": "LambdaLR"}}}, "train.scheduler.name", "is made of functions or other"),
        ({"train": {"scheduler": {"name": "SequentialLR"}}}, "train.scheduler.name", "is made of functions or other"),
        (
            {"train": {"scheduler": {"name": "OneCycleLR", "options": {"max_lr": 0.1}}}},
            "train.scheduler",
            "write name: onecycle",
        ),
        (
            {"train": {"scheduler": {"name": "cosine", "factor": 0.5}}},
            "train.scheduler.factor",
            "factor means nothing for cosine. It takes min_lr.",
        ),
        (
            {"train": {"scheduler": {"name": "plateau", "options": {"cooldown": 1}}}},
            "train.scheduler.options",
            "It takes factor, min_lr and patience.",
        ),
        (
            {"train": {"scheduler": {"name": "StepLR", "every": 3, "options": {"step_size": 3}}}},
            "train.scheduler.every",
            "every means nothing for StepLR. It takes options.",
        ),
        ({"train": {"scheduler": {"name": "constant", "min_lr": 0.1}}}, "train.scheduler.min_lr", "Remove min_lr."),
        (
            {"arch_options": {"decoder_chanels": [64, 32, 16, 8, 8]}},
            "arch_options.decoder_chanels",
            'Unet has no argument "decoder_chanels". Did you mean "decoder_channels"?',
        ),
        (
            {"arch_options": {"drop_path_rate": 0.1}},
            "arch_options.drop_path_rate",
            "There are encoder_depth",
        ),
        (
            {"encoder": "tu-convnext_tiny", "arch_options": {"decoder_chanels": [64, 32, 16, 8]}},
            "arch_options.decoder_chanels",
            "Did you mean",
        ),
        (
            {"arch_options": {"decoder_channels": "64"}},
            "arch_options.decoder_channels",
            'must be a list of whole numbers, not "64"',
        ),
        (
            {"arch": "DeepLabV3", "arch_options": {"encoder_output_stride": 4}},
            "arch_options.encoder_output_stride",
            "must be 8 or 16, not 4",
        ),
        ({"arch_options": {"activation": "sigmoid"}}, "arch_options.activation", "the plain answer of the network"),
        (
            {"encoder": "timm-mobilenetv3_small_minimal_100", "encoder_weights": "imagenett"},
            "encoder_weights",
            "Write true for its own",
        ),
        ({"encoder": "tu-resnet18", "encoder_weights": "a1_in1k"}, "encoder_weights", "tu-<model>.<weights>"),
        ({"train": {"scheduler": {"name": "cosin"}}}, "train.scheduler.name", 'Did you mean "cosine"?'),
        ({"train": {"early_stopping": {"monitor": "val_iou"}}}, "train.early_stopping.monitor", "There is no metric"),
        (
            {"train": {"batch": 3, "devices": 2}, "resources": {"gpus": 4}},
            "train.batch",
            "6 images at a time cannot be",
        ),
        ({"train": {"batch": 3}, "resources": {"gpus": {"min": 2}}}, "train.batch", "cannot be shared by 2 GPUs"),
        ({"augment": {"scale": [1.2, 0.8]}}, "augment.scale", "1.2 is more than 0.8"),
        ({"export": {"onxx": {}}}, "export.onxx", 'Did you mean "onnx"?'),
        ({"export": {"onnx": {"opset": 3}}}, "export.onnx.opset", "a whole number from 9 to 20, not 3"),
        ({"export": {"onnx": {"opset": "new"}}}, "export.onnx.opset", "not 'new'"),
        ({"export": {"onnx": {"dynamic": 1}}}, "export.onnx.dynamic", "must be true or false"),
        ({"encoder_weights": "none.safetensors"}, "encoder_weights", "There is no file none.safetensors"),
        ({"train": {"loss": {"name": "dice", "gamma": 2}}}, "train.loss.gamma", "gamma means nothing for dice. Remove"),
        (
            {"train": {"loss": ["dice", {"name": "focal", "beta": 2}]}},
            "train.loss.1.beta",
            "There are alpha and gamma",
        ),
        ({"export": {"onnx": {"opsett": 17}}}, "export.onnx.opsett", 'Did you mean "opset"?'),
        ({"start_from": "weights/none.safetensors"}, "start_from", "There is no file"),
        ({"start_from": "models.yolo"}, "start_from", "is models.ultralytics"),
        ({"data": None}, "data", "Nothing says what to train on."),
        ({"classes": ["coral"]}, "classes", "comes from the export"),
        ({"data": None, "checkpoint": "none.ckpt"}, "checkpoint", "There is no file none.ckpt"),
    ],
)
def test_a_mistake_is_told_where_it_stands(tmp_path: Path, spec: dict[str, Any], path: str, message: str) -> None:
    found = _problems(tmp_path, **spec)
    assert [where for where, _ in found] == [path]
    assert message in found[0][1]


@pytest.mark.parametrize(
    "spec",
    [
        {"arch_options": {"decoder_channels": [48, 32, 24, 16, 8], "decoder_attention_type": "scse"}},
        {"arch_options": {"decoder_attention_type": None, "decoder_use_norm": {"type": "layernorm", "eps": 0.01}}},
        {"arch_options": {"decoder_use_batchnorm": False}},
        {"arch": "deeplabv3plus", "arch_options": {"decoder_atrous_rates": [6, 12, 18], "encoder_depth": 4}},
        {"encoder": "tu-convnext_tiny", "arch_options": {"drop_path_rate": 0.1}},
        {
            "arch": "DPT",
            "encoder": "tu-vit_small_patch14_dinov2.lvd142m",
            "encoder_weights": True,
            "arch_options": {
                "decoder_readout": "add",
                "encoder_output_indices": [2, 5, 8, 11],
                "dynamic_img_size": True,
            },
        },
        {"train": {"optimizer": {"name": "adamw", "options": {"betas": [0.9, 0.95], "eps": 1e-7, "fused": None}}}},
        {"train": {"optimizer": {"name": "sgd", "weight_decay": 1e-4, "options": {"momentum": 0.9, "nesterov": True}}}},
        {"train": {"optimizer": {"name": "Adafactor", "options": {"eps": [None, 0.001]}}}},
        {"train": {"scheduler": {"name": "plateau", "factor": 0.5, "patience": 3, "min_lr": 1e-6}}},
        {"train": {"scheduler": {"name": "poly", "power": 0.9, "warmup_epochs": 2}}},
        {"train": {"scheduler": {"name": "StepLR", "options": {"step_size": 3, "gamma": 0.5}}}},
        {"train": {"scheduler": {"name": "MultiStepLR", "options": {"milestones": [3, 5]}}}},
        {"train": {"scheduler": {"name": "ReduceLROnPlateau", "options": {"mode": "min", "min_lr": [0.1, 0.2]}}}},
        {"train": {"scheduler": {"name": "OneCycleLR", "options": {"max_lr": 0.1, "total_steps": 9}}}},
        {"train": {"scheduler": {"name": "CyclicLR", "options": {"base_lr": 0.1, "max_lr": 0.2}}}},
    ],
)
def test_arguments_that_the_classes_take_have_no_problem(tmp_path: Path, spec: dict[str, Any]) -> None:
    assert _problems(tmp_path, **spec) == []


def test_an_export_of_another_kind_is_refused(tmp_path: Path) -> None:
    assert _problems(tmp_path, kind="exports.yolo")[0][0] == "data"


def test_a_checkpoint_with_training_settings_says_which_mean_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.ckpt").touch()
    given: dict[str, Any] = {"data": None, "checkpoint": "a.ckpt"}
    assert _problems(tmp_path, **given, train={"image_size": [64, 64]}) == []
    assert "epochs" in _problems(tmp_path, **given, train={"epochs": 3})[0][1]


def test_what_only_changes_the_speed_is_no_part_of_the_result() -> None:
    one = SmpSpec(data="masks", train={"workers": 0, "pictures": 0})
    kept = {"on_oom": "halve", "checkpoints": {"every": "1m"}}
    other = SmpSpec(data="masks", train={"workers": 4, "epochs": 3, **kept}, export={"torchscript": {}})
    assert result_config(one) == result_config(other)
    assert result_config(one) != result_config(SmpSpec(data="masks", train={"batch": 3}))


def test_the_time_between_two_checkpoints_is_a_duration() -> None:
    with pytest.raises(ValidationError, match='"soon" is no duration'):
        SmpSpec(data="masks", train={"checkpoints": {"every": "soon"}})


def test_how_many_devices_share_the_images_of_a_batch_is_no_part_of_the_result() -> None:
    one, two = (SmpSpec(data="masks", train=train) for train in ({"batch": 8}, {"batch": 4, "devices": 2}))
    assert result_config(one) == result_config(two)
    assert result_config(one) != result_config(SmpSpec(data="masks", train={"batch": 8, "devices": 2}))


@pytest.mark.parametrize(("train", "gpus", "cpus"), [({}, 1, 8.0), ({"devices": 2}, 2, 16.0)])
def test_as_many_gpus_are_wanted_as_there_are_devices(train: dict[str, Any], gpus: int, cpus: float) -> None:
    wanted = Smp().wants(SmpSpec(data="masks", train=train))
    assert (wanted.gpus, wanted.cpus) == (gpus, cpus)


@pytest.mark.parametrize(
    ("rows", "epochs", "resume", "expected"),
    [
        (3, 5, "auto", "goes on after epoch 3"),
        (0, 5, "auto", "goes on in its first epoch"),
        (3, 2, "auto", "begins anew"),
        (3, 5, "never", "begins anew"),
    ],
)
def test_the_plan_says_after_which_epoch_an_interrupted_training_goes_on(
    tmp_path: Path, rows: int, epochs: int, resume: str, expected: str
) -> None:
    (tmp_path / LAST).parent.mkdir()
    (tmp_path / LAST).touch()
    TrainingState(key="k", batch=1, accumulate=1, rows=[{"epoch": float(n)} for n in range(rows)]).save(tmp_path)
    assert Smp().goes_on(SmpSpec(data="masks", train={"epochs": epochs}, resume=resume), tmp_path) == expected


def test_the_plan_says_that_without_a_checkpoint_it_begins_anew(tmp_path: Path) -> None:
    assert Smp().goes_on(SmpSpec(data="masks"), tmp_path) == "begins anew"
