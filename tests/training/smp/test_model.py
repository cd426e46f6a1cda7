"""Networks: what the installed packages offer, built and asked once. Slow: some are large."""

from __future__ import annotations

import inspect
import json
from dataclasses import replace
from pathlib import Path

import pytest

from specrun.errors import FormatError, NodeError
from specrun.training.smp import names

torch = pytest.importorskip("torch")
smp = pytest.importorskip("segmentation_models_pytorch")

from specrun.training.smp.description import ModelDescription  # noqa: E402
from specrun.training.smp.model import build_model, load_state, load_weights, probe, save_weights  # noqa: E402
from specrun.training.smp.starting import channel_count, given_state  # noqa: E402

_SMALL_VIT = {
    "decoder_intermediate_channels": [16, 16, 32, 32],
    "decoder_fusion_channels": 16,
    "embed_dim": 48,
    "num_heads": 2,
}
_DESCRIBED = ModelDescription(
    arch="Unet",
    encoder="resnet18",
    classes=("a", "b"),
    background=0,
    ignore_index=255,
    activation="softmax",
    mean=(0.5, 0.5, 0.5),
    std=(0.2, 0.2, 0.2),
    image_size=(64, 96),
    stride=32,
)


def test_names_read_from_files_are_those_of_the_imported_packages() -> None:
    import timm

    assert set(names.architectures()) == {cls.__name__ for cls in smp.MODEL_ARCHITECTURES_MAPPING.values()}
    assert set(names.smp_encoders()) == set(smp.encoders.encoders)
    for encoder, weights in names.smp_encoders().items():
        assert set(weights) == set(smp.encoders.encoders[encoder]["pretrained_settings"])
    assert set(timm.list_models()) <= names.timm_models()
    assert all(hasattr(torch.optim, name) for name in names.optimizers())
    assert all(hasattr(torch.optim.lr_scheduler, name) for name in names.schedulers())


def test_arguments_read_from_files_are_those_of_the_imported_classes() -> None:
    read = {
        **{cls: names.architecture_signature(cls.__name__) for cls in smp.MODEL_ARCHITECTURES_MAPPING.values()},
        **{getattr(torch.optim, name): names.optimizer_signature(name) for name in names.optimizers()},
        **{getattr(torch.optim.lr_scheduler, name): names.scheduler_signature(name) for name in names.schedulers()},
    }
    for cls, signature in read.items():
        wanted = {
            parameter.name: parameter.default is not inspect.Parameter.empty
            for parameter in inspect.signature(cls).parameters.values()
            if parameter.kind is not inspect.Parameter.VAR_KEYWORD
        }
        assert signature is not None
        assert {name: argument.default for name, argument in signature.arguments.items()} == wanted, cls
        assert all(argument.words or not argument.writable for argument in signature.arguments.values())


@pytest.mark.parametrize("name", sorted(names.UNFIT_OPTIMIZERS))
def test_optimizers_that_are_refused_cannot_train_a_network(name: str) -> None:
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3), torch.nn.BatchNorm2d(2))

    def step() -> None:
        optimizer = getattr(torch.optim, name)(net.parameters(), lr=1e-3)
        net(torch.rand(2, 3, 8, 8)).sum().backward()
        optimizer.step()

    with pytest.raises((TypeError, ValueError, RuntimeError)):
        step()


@pytest.mark.slow
@pytest.mark.parametrize("arch", [arch for arch in names.architectures() if arch != "DPT"])
def test_every_architecture_gives_a_channel_for_each_class_in_the_size_of_the_image(arch: str) -> None:
    described = replace(_DESCRIBED, arch=arch, image_size=(128, 160))
    model = build_model(described)
    probe(model, described)
    model.train()
    logits = model(torch.rand((2, 3, 128, 160)))
    assert logits.shape == (2, 3, 128, 160)


@pytest.mark.parametrize(
    ("encoder", "image_size"), [("tu-vit_small_patch14_dinov2", (64, 96)), ("tu-vit_tiny_patch16_224", (64, 96))]
)
def test_dpt_takes_vision_transformers_whatever_their_patches(encoder: str, image_size: tuple[int, int]) -> None:
    described = replace(_DESCRIBED, arch="DPT", encoder=encoder, image_size=image_size, arch_options=_SMALL_VIT)
    model = build_model(described)
    logits = model.eval()(torch.rand((2, 3, *image_size)))
    assert logits.shape == (2, 3, *image_size)
    logits.sum().backward()
    assert model.encoder.model.patch_embed.proj.weight.grad is not None


def test_a_transformer_that_wants_another_size_says_so() -> None:
    described = replace(
        _DESCRIBED,
        arch="DPT",
        encoder="tu-vit_tiny_patch16_224",
        arch_options={**_SMALL_VIT, "dynamic_img_size": False},
    )
    with pytest.raises(NodeError, match=r"train\.image_size: DPT with tu-vit_tiny_patch16_224 does not take 64x96"):
        probe(build_model(described), described)


def test_weights_come_back_whatever_wraps_their_names(tmp_path: Path) -> None:
    model = build_model(_DESCRIBED)
    state = model.state_dict()
    for name, content in {
        "a.ckpt": {"state_dict": {f"model.{key}": value for key, value in state.items()}, "epoch": 3},
        "b.pth": {f"module.{key}": value for key, value in state.items()},
        "c.pt": state,
    }.items():
        torch.save(content, tmp_path / name)
        other = build_model(_DESCRIBED)
        load_weights(other, load_state(tmp_path / name), tmp_path / name)
        assert all(torch.equal(state[key], value) for key, value in other.state_dict().items())
    save_weights(state, tmp_path / "d.safetensors")
    assert channel_count(load_state(tmp_path / "d.safetensors")) == 3


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    torch.save(build_model(replace(_DESCRIBED, arch="FPN")).state_dict(), tmp_path / "a.pt")
    with pytest.raises(FormatError, match="are weights of another model"):
        load_weights(build_model(_DESCRIBED), load_state(tmp_path / "a.pt"), tmp_path / "a.pt")


def test_a_file_that_would_run_code_is_not_loaded(tmp_path: Path) -> None:
    torch.save({"state_dict": {}, "hook": Path("/")}, tmp_path / "a.ckpt")
    with pytest.raises(FormatError, match="cannot be read as weights"):
        load_state(tmp_path / "a.ckpt")


def test_a_folder_of_save_pretrained_says_architecture_and_encoder(tmp_path: Path) -> None:
    smp.Unet("resnet18", encoder_weights=None, classes=2, decoder_channels=(32, 16, 16, 8, 8)).save_pretrained(tmp_path)
    state, said = given_state(tmp_path)
    assert (said["arch"], said["encoder"]) == ("Unet", "resnet18")
    described = replace(_DESCRIBED, classes=("a",), arch_options=said["arch_options"])
    load_weights(build_model(described), state, tmp_path)


def test_a_description_survives_its_file(tmp_path: Path) -> None:
    from specrun.training.smp.description import description_from_json

    _DESCRIBED.save(tmp_path, exports={})
    content = json.loads((tmp_path / "model.json").read_text())
    assert description_from_json(content, "here") == _DESCRIBED
    assert content["kind"] == "smp"
    assert content["channels"] == ["background", "a", "b"]
    del content["encoder"]
    with pytest.raises(FormatError, match="here: does not describe"):
        description_from_json(content, "here")
