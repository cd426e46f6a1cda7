"""Everything that a plan depends on besides the graph and the command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from specrun.model.address import Address
from specrun.model.state import Attempt, NodeRecord, Observation, Unreachable


@dataclass(frozen=True, kw_only=True)
class World:
    """State and observations, by address.

    gone: address → what is missing of its output (`outputs/models/unet was deleted`).
    unreachable: address → why it could not be observed; such a node and what needs it fail at apply.
    """

    records: Mapping[Address, NodeRecord] = field(default_factory=dict)
    attempts: Mapping[Address, Attempt] = field(default_factory=dict)
    observations: Mapping[Address, Observation] = field(default_factory=dict)
    gone: Mapping[Address, str] = field(default_factory=dict)
    unreachable: Mapping[Address, Unreachable] = field(default_factory=dict)
