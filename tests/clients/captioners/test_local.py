"""A tiny BLIP with random weights, saved and loaded by the real classes."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from specrun.clients.captioners.local import LocalCaptioner, LocalSettings
from specrun.errors import NodeError


@pytest.fixture(scope="module")
def captioner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("blip")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", "a", "red", "fish", "reef"]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    tokenizer = transformers.BertTokenizer(str(folder / "vocab.txt"), bos_token="[DEC]")
    images = transformers.BlipImageProcessor(size={"height": 32, "width": 32})
    transformers.BlipProcessor(images, tokenizer).save_pretrained(folder)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    text = {
        **sizes,
        "vocab_size": 10,
        "encoder_hidden_size": 16,
        "bos_token_id": 5,
        "eos_token_id": 3,
        "sep_token_id": 3,
    }
    config = transformers.BlipConfig(
        text_config={**text, "pad_token_id": 0, "max_position_embeddings": 32, "is_decoder": True},
        vision_config={**sizes, "image_size": 32, "patch_size": 16},
        projection_dim=8,
    )
    transformers.BlipForConditionalGeneration(config).save_pretrained(folder)
    return folder


def picture() -> bytes:
    file = BytesIO()
    Image.new("RGB", (48, 40), (200, 30, 30)).save(file, "PNG")
    return file.getvalue()


def test_a_transformers_captioner_says_words_of_its_own(captioner: Path) -> None:
    local = LocalCaptioner(LocalSettings(str(captioner), max_tokens=6))
    said = local.caption(picture(), "image/png")
    assert said == local.caption(picture(), "image/png")
    assert set(said.split()) <= {"a", "red", "fish", "reef", "[UNK]"}


def test_a_folder_without_a_captioner_is_named(tmp_path: Path) -> None:
    local = LocalCaptioner(LocalSettings(str(tmp_path)))
    with pytest.raises(NodeError, match=f"captioner {tmp_path}: cannot be loaded"):
        local.caption(picture(), "image/png")
