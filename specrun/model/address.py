"""Addresses: `models.unet`, or `models.unet[encoder=resnet34,seed=1]` with a matrix."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property, lru_cache

NAME_PATTERN = r"[A-Za-z][A-Za-z0-9_-]*"
_ADDRESS = re.compile(rf"^({NAME_PATTERN})\.({NAME_PATTERN})(?:\[([^\[\]]*)\])?$")
_UNSAFE = re.compile(r"[^A-Za-z0-9._+-]")


@dataclass(frozen=True, order=True)
class Address:
    """Where a node is declared: section, name and, in a matrix, which instance."""

    section: str
    name: str
    instance: tuple[tuple[str, str], ...] = ()

    @cached_property
    def text(self) -> str:
        if not self.instance:
            return f"{self.section}.{self.name}"
        values = ",".join(f"{key}={value}" for key, value in self.instance)
        return f"{self.section}.{self.name}[{values}]"

    def __str__(self) -> str:
        return self.text

    @property
    def base(self) -> Address:
        """The declaration this instance came from."""
        return Address(self.section, self.name) if self.instance else self

    @property
    def folder(self) -> str:
        """Relative posix path, `models/unet/encoder=resnet34`; values are made path-safe."""
        parts = [self.section, self.name]
        parts += [f"{key}={path_safe(value)}" for key, value in self.instance]
        return "/".join(parts)


def path_safe(value: str) -> str:
    """A value as one path component: unsafe characters become %XX, as in URLs."""
    safe = _UNSAFE.sub(lambda m: "".join(f"%{byte:02X}" for byte in m[0].encode()), value)
    return safe if safe.strip(".") else safe.replace(".", "%2E") or "%00"


@lru_cache(maxsize=65536)
def parse_address(text: str) -> Address:
    """Raises ValueError: not `section.name` or `section.name[key=value,...]`."""
    match = _ADDRESS.match(text)
    if not match:
        raise ValueError(f'"{text}" is not an address; write section.name, for example models.unet')
    section, name, inside = match.groups()
    instance: list[tuple[str, str]] = []
    for pair in (inside or "").split(",") if inside else ():
        key, separator, value = pair.partition("=")
        if not separator:
            raise ValueError(f'"{text}": write [key=value] inside the brackets')
        instance.append((key.strip(), value.strip()))
    return Address(section, name, tuple(instance))
