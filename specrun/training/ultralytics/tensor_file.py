"""A nested state full of tensors in one file, written over the file of an epoch that is no longer needed.

    <the tensors' bytes, one after the other><the state as a pickle, with their places for them><both lengths>

Fresh pages are what writing costs: `torch.save` takes four times as long for the same state, into a new file or an old
one.
"""

from __future__ import annotations

import io
import os
import pickle
import struct
from pathlib import Path
from typing import IO, Any

_LENGTHS = struct.Struct("<QQ")
_BUFFER = 1 << 20
_on_disk = getattr(os, "fdatasync", os.fsync)


def write_state(content: Any, path: Path) -> None:
    """Tensors are written as they lie in memory, so they must be on the CPU; those that share memory are written each.

    The file is in an undefined state if the process or the machine ends in here, and so belongs under another name
    until then; after that it is on the disk.
    """
    pickled = io.BytesIO()
    pickler = _Pickler(pickled)
    pickler.dump(content)
    rest = pickled.getvalue()
    with open(path, "r+b" if path.exists() else "w+b", buffering=_BUFFER) as file:
        for tensor in pickler.tensors:
            file.write(_bytes_of(tensor))
        file.write(rest)
        file.write(_LENGTHS.pack(pickler.written, len(rest)))
        file.truncate()
        file.flush()
        _on_disk(file.fileno())


def read_state(path: Path) -> Any:
    """As it was written; each tensor has memory of its own. Only for files of the same machine: pickles run code.

    Raises ValueError: it is not whole.
    """
    with open(path, "rb") as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(max(size - _LENGTHS.size, 0))
        ending = file.read()
        tensors, length = _LENGTHS.unpack(ending) if len(ending) == _LENGTHS.size else (0, 0)
        if size != tensors + length + _LENGTHS.size or not length:
            raise ValueError(f"{path}: is not whole")
        file.seek(tensors)
        rest = io.BytesIO(file.read(length))
        return _Unpickler(rest, file).load()


class _Pickler(pickle.Pickler):
    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self.tensors: list[Any] = []
        self.written = 0

    def persistent_id(self, thing: Any) -> tuple[int, Any, tuple[int, ...], Any] | None:
        """Where it lies in the file, its type, its shape and the order of its axes in memory."""
        import torch  # heavy

        if not isinstance(thing, torch.Tensor):
            return None
        place = self.written
        self.tensors.append(thing)
        self.written += thing.numel() * thing.element_size()
        return place, thing.dtype, tuple(thing.shape), _layout(thing)


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: IO[bytes], tensors: IO[bytes]) -> None:
        super().__init__(file)
        self._tensors = tensors

    def persistent_load(self, pid: Any) -> Any:
        import torch  # heavy

        place, dtype, shape, layout = pid
        tensor = torch.empty(shape, dtype=dtype, memory_format=layout)
        self._tensors.seek(place)
        self._tensors.readinto(_bytes_of(tensor))  # type: ignore[attr-defined]
        return tensor


def _layout(tensor: Any) -> Any:
    import torch  # heavy

    channels_last = tensor.is_contiguous(memory_format=torch.channels_last) if tensor.dim() == 4 else False
    return torch.channels_last if channels_last and not tensor.is_contiguous() else torch.contiguous_format


def _bytes_of(tensor: Any) -> memoryview:
    """Of the memory itself; of a copy where the tensor is not dense."""
    import torch  # heavy

    dense = tensor.detach()
    if _layout(tensor) is torch.channels_last:
        dense = dense.permute(0, 2, 3, 1)
    return memoryview(dense.contiguous().reshape(-1).view(torch.uint8).numpy())
