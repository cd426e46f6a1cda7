"""Everything that a plan depends on besides the graph and the command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from specrun.model.address import Address
from specrun.model.digest import Json
from specrun.model.state import Attempt, NodeRecord, Observation, Unreachable


@dataclass(frozen=True, slots=True)
class Begun:
    """Work that did not end well. config: that it worked by, {} when not known. read: digests of what it read.
    goes_on: how the next attempt takes it up, in words; "": nobody can tell."""

    config: Mapping[str, Json] = field(default_factory=dict)
    read: Mapping[str, str] = field(default_factory=dict)
    goes_on: str = ""


@dataclass(frozen=True, kw_only=True)
class World:
    """State and observations, by address.

    gone: address → what is missing of its output (`outputs/models/unet was deleted`).
    begun: what the attempts left, where that is known.
    unreachable: address → why it could not be observed; such a node and what needs it fail at apply.
    """

    records: Mapping[Address, NodeRecord] = field(default_factory=dict)
    attempts: Mapping[Address, Attempt] = field(default_factory=dict)
    observations: Mapping[Address, Observation] = field(default_factory=dict)
    gone: Mapping[Address, str] = field(default_factory=dict)
    begun: Mapping[Address, Begun] = field(default_factory=dict)
    unreachable: Mapping[Address, Unreachable] = field(default_factory=dict)
