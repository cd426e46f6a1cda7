"""What `weights` may say: an architecture (.yaml) or a checkpoint (.pt), of ours or by its release name."""

from __future__ import annotations

import re
import urllib.request
from functools import cache
from pathlib import Path

from specrun.errors import NodeError
from specrun.spec.suggest import did_you_mean
from specrun.training.ultralytics.arguments import installed_folder
from specrun.training.ultralytics.released import released_checkpoints

ARCHITECTURE_SUFFIXES = (".yaml", ".yml")
_RELEASE = re.compile(r"^(?:yolov?\d|yoloe-|rtdetr-)")
_TASK = re.compile(r"-(seg|sem|cls|pose|obb|depth)(?![a-z])")
_TASKS = {"seg": "segment", "sem": "semantic", "cls": "classify", "pose": "pose", "obb": "obb", "depth": "depth"}
_SCALE = re.compile(r"(\d+)([nslmx])(.+)?$")
_RELEASE_NUMBER = re.compile(r"^yolo[a-z]*\d+(?=-|$)")
_DOWNLOAD_URL = "https://github.com/ultralytics/assets/releases/download/v8.4.0"
_DOWNLOAD_TIMEOUT_S = 60.0


def is_architecture(weights: str) -> bool:
    return weights.lower().endswith(ARCHITECTURE_SUFFIXES)


def task_by_name(weights: str) -> str | None:
    """The task that the name of a released architecture or checkpoint says; None for other names."""
    stem = Path(weights).stem
    if not _RELEASE.match(stem):
        return None
    match = _TASK.search(stem)
    return _TASKS[match[1]] if match else "detect"


def unknown_release(weights: str) -> str | None:
    """What to do about a checkpoint that is named as a released one and is none; None for other names."""
    known = released_checkpoints()
    if not known or weights in known or not _RELEASE.match(weights):
        return None
    return did_you_mean(weights, sorted(known)) or "Give a path relative to the spec."


def metrics_of_task(task: str) -> tuple[str, ...]:
    """As the library's validators name them; losses of the validation by how their names begin."""
    if task == "classify":
        return ("metrics/accuracy_top1", "metrics/accuracy_top5", "fitness", "val/")
    suffixes = {"segment": ("(B)", "(M)"), "pose": ("(B)", "(P)")}.get(task, ("(B)",))
    names = ("precision", "recall", "mAP50", "mAP50-95")
    return (*(f"metrics/{name}{suffix}" for suffix in suffixes for name in names), "fitness", "val/")


def written_path(text: str, project_dir: Path) -> Path:
    """The file that the spec means: relative to the spec, `~` for the home folder."""
    return project_dir / Path(text).expanduser()


def local_file(weights: str, project_dir: Path) -> Path | None:
    path = written_path(weights, project_dir)
    return path if path.is_file() else None


@cache
def shipped_architectures() -> tuple[str, ...]:
    """Stems of the architecture files inside the installed package, without the scale letter."""
    folder = installed_folder()
    return tuple(sorted(p.stem for p in (folder / "cfg" / "models").rglob("*.yaml"))) if folder else ()


def unknown_architecture(weights: str) -> str | None:
    """What to do about a name that the installed package does not ship; None when it ships it.

    `yolo11n-seg.yaml` means `yolo11-seg.yaml` at scale n, as the library reads it.
    """
    shipped = shipped_architectures()
    stem = Path(weights).stem
    unified = _SCALE.sub(r"\1\3", stem)
    if not shipped or Path(weights).name != weights:
        return None if not shipped else "Give a path relative to the spec."
    if stem in shipped or unified in shipped:
        return None
    scale = _SCALE.search(stem)
    names = [_RELEASE_NUMBER.sub(rf"\g<0>{scale[2]}", name) if scale else name for name in shipped]
    return did_you_mean(f"{stem}.yaml", [f"{name}.yaml" for name in names]) or "Give a path relative to the spec."


def checkpoint_file(weights: str, project_dir: Path, cache_dir: Path, *, offline: bool) -> Path:
    """A checkpoint on this machine; a release name is downloaded once into the cache.

    Raises NodeError: there is no such file, and it could not be downloaded.
    """
    if found := local_file(weights, project_dir):
        return found
    target = cache_dir / "ultralytics" / Path(weights).name
    if target.is_file():
        return target
    remedy = f"Download it where there is a network, put it beside the spec and write weights: {Path(weights).name}."
    if Path(weights).name != weights or task_by_name(weights) is None:
        raise NodeError(f"weights: {weights}: there is no such file.", hint="Give a path relative to the spec.")
    if offline:
        raise NodeError(f"weights: {weights} is not on this machine, and YOLO_OFFLINE forbids downloads.", hint=remedy)
    try:
        _download(f"{_DOWNLOAD_URL}/{weights}", target)
    except OSError as error:
        message = f"weights: {weights} is not on this machine and could not be had: {error}."
        raise NodeError(message, hint=remedy) from None
    return target


def _download(url: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".part")
    with urllib.request.urlopen(url, timeout=_DOWNLOAD_TIMEOUT_S) as response, open(partial, "wb") as file:
        while chunk := response.read(1 << 20):
            file.write(chunk)
    partial.replace(target)
