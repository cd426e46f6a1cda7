"""What a generation made, as films."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

from specrun.errors import MissingDependency
from specrun.kinds.generations.wishes import Wish

FILM = "video.mp4"
FOLDER = "videos"
_NAME_LETTERS = 40


def films(wishes: Sequence[Wish]) -> Mapping[str, Sequence[Wish]]:
    """File → its pictures. Changed pictures become a film for each prompt, seed and clip that they were taken from,
    since one after the other they would show the same scene again and again; pictures from words alone become one."""
    groups: dict[tuple[str, int, str], list[Wish]] = {}
    for wish in wishes:
        key = (wish.prompt, wish.seed, str(wish.sample.fields.get("clip") or "")) if wish.sample else ("", 0, "")
        groups.setdefault(key, []).append(wish)
    if len(groups) == 1:
        return {FILM: list(wishes)}
    prompts, seeds, clips = (list(dict.fromkeys(values)) for values in zip(*groups, strict=True))
    named: dict[str, Sequence[Wish]] = {}
    for (prompt, seed, clip), found in groups.items():
        words = [f"{prompts.index(prompt) + 1}_{_slug(prompt)}"] if len(prompts) > 1 else []
        words += [f"seed_{seed}"] if len(seeds) > 1 else []
        words += [f"{clips.index(clip) + 1}_{_slug(clip)}"] if len(clips) > 1 else []
        named[f"{FOLDER}/{'_'.join(words)}.mp4"] = found
    return named


def _slug(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain)[:_NAME_LETTERS].strip("-") or "text"


def save_film(target: Path, pictures: Sequence[Path], fps: float, check_stop: Callable[[], None]) -> None:
    """H.264 in MP4; the size of the first picture, its sides made even. Raises MissingDependency."""
    try:
        import av
    except ImportError:
        hint = "Install the extra: pip install 'specrun[lora]'."
        raise MissingDependency("A film needs PyAV.", hint=hint) from None
    with Image.open(pictures[0]) as first:
        size = (max(first.width // 2, 1) * 2, max(first.height // 2, 1) * 2)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".part")
    with av.open(str(partial), "w", format="mp4") as film:
        stream = film.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.options = {"crf": "16"}
        for path in pictures:
            check_stop()
            with Image.open(path) as picture:
                pixels = np.asarray(picture.convert("RGB").resize(size, Image.Resampling.LANCZOS))
            for packet in stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")):
                film.mux(packet)
        for packet in stream.encode():
            film.mux(packet)
    partial.replace(target)
