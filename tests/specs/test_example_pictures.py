"""Pictures of the examples are none that the program would tell a newcomer of."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from specrun.formats.video import read_frames, read_index
from specrun.kinds.captions.statistics import TINY, picture_look, similar_pairs
from specrun.kinds.registry import REGISTRY
from specrun.kinds.sources.video_spec import VideoSpec
from specrun.spec.project import load_project

SPECS = Path(__file__).parents[2] / "specs"


def test_no_frames_of_the_film_look_alike() -> None:
    project = load_project(SPECS / "video_frames/project.yaml", REGISTRY)
    (spec,) = [node.config for node in project.nodes if str(node.address) == "sources.dive"]
    every = VideoSpec.model_validate(dict(spec)).every_n
    assert every is not None
    film = SPECS / "video_frames/media/dive.mp4"
    index = read_index(film)
    frames = list(read_frames(film, index, range(0, len(index.times), every)))
    assert len(frames) == 24
    assert similar_pairs([picture_look(frame.picture) for frame in frames]) == []


def test_no_coin_of_the_lora_example_is_tiny() -> None:
    coins = sorted((SPECS / "classification/data").rglob("*.png"))
    assert len(coins) == 24
    for coin in coins:
        with Image.open(coin) as picture:
            assert min(picture.size) >= TINY
