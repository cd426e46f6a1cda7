"""The process in which Ultralytics runs: quiet, offline, and writing nowhere but in its node's folder.

Must be prepared before the first `import ultralytics`: the library reads all of it at import.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from collections.abc import MutableMapping
from pathlib import Path
from types import ModuleType
from typing import NoReturn

from specrun.errors import MissingDependency

_SETTINGS_VERSION = "0.0.8"
_INTEGRATIONS = (
    "sync",
    "clearml",
    "comet",
    "dvc",
    "mlflow",
    "raytune",
    "tensorboard",
    "wandb",
    "vscode_msg",
    "openvino_msg",
)
_FONTS = ("Arial.ttf", "Arial.Unicode.ttf")


def prepare_environment(
    folder: Path, cache_dir: Path, threads: int, environ: MutableMapping[str, str] = os.environ
) -> None:
    """Settings, fonts and variables. folder: of the node. cache_dir: the project's, for matplotlib's list of fonts.

    The library would otherwise look for fonts on the network, install packages by itself, report to
    analytics, and write settings into the home directory.
    """
    config = folder / "config" / "Ultralytics"
    config.mkdir(parents=True, exist_ok=True)
    (config / "settings.json").write_text(json.dumps(_settings(folder), indent=1), encoding="utf-8")
    _copy_fonts(config)
    environ.update(
        YOLO_CONFIG_DIR=str(folder / "config"),
        MPLCONFIGDIR=environ.get("MPLCONFIGDIR") or str(cache_dir / "matplotlib"),
        MPLBACKEND="Agg",
        YOLO_OFFLINE="1",
        YOLO_AUTOINSTALL="False",
        ULTRALYTICS_SAFE_LOAD="1",
        NO_ALBUMENTATIONS_UPDATE="1",
        COMET_MODE="disabled",
        CLEARML_OFFLINE_MODE="1",
        OMP_NUM_THREADS=str(threads),
    )
    environ.pop("ULTRALYTICS_API_KEY", None)


def load_ultralytics(folder: Path, cache_dir: Path, threads: int) -> ModuleType:
    """The library, imported into the prepared environment. Raises MissingDependency: it is not installed."""
    prepare_environment(folder, cache_dir, threads)
    return join_ultralytics(threads)


def join_ultralytics(threads: int) -> ModuleType:
    """The library, where this process was given an environment that is prepared already."""
    try:
        # Both are heavy and read the environment that was just prepared.
        import torch
        import ultralytics
    except ImportError as error:
        raise MissingDependency(
            f"Ultralytics cannot be imported: {error}.", hint="Install the extra: pip install 'specrun[yolo]'."
        ) from error
    torch.set_num_threads(threads)
    _refuse_downloads()
    _print_progress_bars_once()
    module: ModuleType = ultralytics
    return module


def _settings(folder: Path) -> dict[str, object]:
    """Every key of the schema: the library replaces an incomplete file by its defaults, which report home."""
    paths = {f"{name}_dir": str(folder / name) for name in ("datasets", "weights", "runs")}
    off = dict.fromkeys(_INTEGRATIONS, False)
    keys = {"uuid": "0" * 64, "api_key": "", "openai_api_key": ""}
    return {"settings_version": _SETTINGS_VERSION, **paths, **keys, **off}


def _copy_fonts(config: Path) -> None:
    """DejaVu Sans comes with matplotlib, which Ultralytics needs anyway, and covers more than Arial."""
    found = importlib.util.find_spec("matplotlib")
    if found is None or found.origin is None:
        return
    source = Path(found.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
    for name in _FONTS:
        if source.is_file() and not (config / name).exists():
            shutil.copyfile(source, config / name)


def _refuse_downloads() -> None:
    """YOLO_OFFLINE only skips a few checks: the library still fetches what it misses, for one yolo26n.pt to try mixed
    precision with on every GPU. It takes this error for a machine without a network, and goes on without."""
    from ultralytics.utils import downloads  # after the environment is prepared

    def refuse(*_: object, **__: object) -> NoReturn:
        raise ConnectionError("specrun lets Ultralytics download nothing; give files of this machine")

    for name in ("safe_download", "get_github_assets"):
        setattr(downloads, name, refuse)


def _print_progress_bars_once() -> None:
    """A bar redraws itself ten times a second, in a log file a line each time; so it prints when it is done,
    as the library does on GitHub's machines."""
    from ultralytics.utils import tqdm  # after the environment is prepared

    tqdm.is_noninteractive_console = lambda: True
