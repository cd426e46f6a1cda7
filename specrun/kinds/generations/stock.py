"""Files that a generation needs at a ComfyUI server: looked for there, and uploaded where they are missing.

ComfyUI has no route for LoRA files. Its upload of pictures takes any file, and `output/loras` is one of the folders in
which it looks for LoRA files (main.py): so they go there, under a name of their content. Where a server was set up
otherwise, the file is put there by hand.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from specrun.clients.comfyui import Comfy
from specrun.errors import CredentialsError, NodeError, TransientError
from specrun.kinds.generations.spec import ComfyGeneration, GenerationSpec
from specrun.kinds.generations.wishes import is_unusual
from specrun.kinds.generations.workflow import ServerFiles, check_nodes, find_checkpoint, find_lora, listed_loras
from specrun.model.digest import bytes_digest, file_digest
from specrun.model.work import Context, Made
from specrun.training.looks import Look

_FOLDER = "specrun"
_UNMATCHED = re.compile(r"lora key not loaded: (\S+)")


class Stock:
    """What each server has, looked at once a run."""

    def __init__(self, spec: GenerationSpec, backend: ComfyGeneration, ctx: Context, loras: Sequence[Made]) -> None:
        self._spec, self._backend, self._ctx, self._loras = spec, backend, ctx, loras
        self._files: dict[str, ServerFiles] = {}
        self._pictures: set[tuple[str, str]] = set()
        self._since: dict[str, str] = {}
        self._unmatched: set[str] = set()

    def of(self, comfy: Comfy, look: Look) -> ServerFiles:
        """Raises NodeError: the server lacks a node, the checkpoint or a LoRA file, and how to bring it there."""
        if comfy.url not in self._files:
            check_nodes(comfy, self._spec.scheduler, prediction=is_unusual(self._spec, look))
            checkpoint = find_checkpoint(comfy, self._backend.checkpoint)
            theirs = [(find_lora(comfy, one.file), one.weight) for one in self._backend.loras]
            weights = {one.lora.rpartition(".")[2]: one.weight for one in self._spec.loras}
            ours = [(self._brought(comfy, made), weights[made.address.name]) for made in self._loras]
            self._files[comfy.url] = ServerFiles(checkpoint, (*ours, *theirs))
            lines = _console(comfy)
            self._since[comfy.url] = lines[-1][0] if lines else ""
        return self._files[comfy.url]

    def upload_picture(self, comfy: Comfy, png: bytes) -> str:
        """What LoadImage calls it."""
        name = f"{bytes_digest(png).rpartition(':')[2][:32]}.png"
        if (comfy.url, name) not in self._pictures:
            comfy.upload(name, png, _FOLDER)
            self._pictures.add((comfy.url, name))
        return f"{_FOLDER}/{name}"

    def read_console(self, comfy: Comfy) -> None:
        """The server says only there that weights fit no layer; it makes the picture without them."""
        if self._spec.loras or self._backend.loras:
            since = self._since.get(comfy.url, "")
            lines = [text for time, text in _console(comfy) if time > since]
            self._unmatched |= {found[1] for text in lines if (found := _UNMATCHED.search(text))}

    def notes(self) -> list[str]:
        if not self._unmatched:
            return []
        count, shown = len(self._unmatched), sorted(self._unmatched)[0]
        message = f"at least {count} weights of LoRAs fit no layer of {self._backend.checkpoint}, such as {shown}"
        return [f"{message}: were they trained on another family?"]

    def _brought(self, comfy: Comfy, made: Made) -> str:
        file = made.artifact("kohya")
        name = f"{file_digest(file).rpartition(':')[2][:32]}.safetensors"
        if found := _named(comfy, name):
            return found
        self._ctx.progress(0, None, "", f"uploading {made.address.name} to {comfy.host}")
        hint = f"Copy {file} into its models/loras folder as {name}, and run again."
        try:
            comfy.upload(name, file.read_bytes(), f"loras/{_FOLDER}", "application/octet-stream", place="output")
        except (CredentialsError, TransientError):
            raise
        except NodeError as error:
            size = file.stat().st_size / 2**20
            message = f"{comfy.host}: takes no upload of {made.address.name} ({size:,.0f} MiB). {error.message}"
            raise NodeError(message, hint=f"{hint} Or start it with a larger --max-upload-size.") from error
        if found := _named(comfy, name):
            return found
        raise NodeError(f"{comfy.host}: does not list the LoRA file that was uploaded to it.", hint=hint)


def _named(comfy: Comfy, name: str) -> str | None:
    """As the server lists it, in whatever folder."""
    return next((one for one in listed_loras(comfy) if one.replace("\\", "/").rsplit("/", 1)[-1] == name), None)


def _console(comfy: Comfy) -> list[tuple[str, str]]:
    try:
        return comfy.console()
    except NodeError:  # not every server shows it
        return []
