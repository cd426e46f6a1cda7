"""`specrun accept ADDRESS`: record what exists as up to date, with a reason."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace

from specrun.cli.project import Planned, one_address, plan_project
from specrun.cli.state import add_project, changing, load_project_of
from specrun.errors import UsageError
from specrun.model.address import Address
from specrun.model.node import Node
from specrun.model.state import Observation
from specrun.planner.fingerprint import fingerprint, read_digests


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("address", metavar="ADDRESS", help="the node, for example models.unet")
    parser.add_argument("--reason", required=True, help="why it is good as it is; `specrun why` shows it")
    add_project(parser)


def run(arguments: argparse.Namespace) -> int:
    project = load_project_of(arguments)
    nodes = {node.address: node for node in project.nodes}
    address = one_address(arguments.address, nodes)
    with changing(project, "accept") as (state, _):
        planned = plan_project(project, argparse.Namespace(target=[str(address)], replace=[], exclude=[]))
        record = planned.world.records.get(address)
        if record is None:
            raise UsageError(f"{address} was never made", hint="`specrun adopt` takes in what was made elsewhere.")
        if address in planned.world.gone:
            raise UsageError(planned.world.gone[address], hint="Only what is there can be accepted.")
        read, observed = what_it_reads(nodes[address], planned)
        node = nodes[address]
        state.put_record(
            replace(
                record,
                kind_version=node.kind_version,
                fingerprint=fingerprint(node, read, observed.value),
                result_config=node.result_config,
                inputs=read,
                observation=observed.value,
                accepted=arguments.reason,
            )
        )
    sys.stdout.write(f"{address} counts as up to date: {arguments.reason}\n")
    return 0


def what_it_reads(node: Node, planned: Planned) -> tuple[dict[str, str], Observation]:
    """Digests of its inputs and its observation as they are now; raises UsageError: an input was never made."""
    records, observations = planned.world.records, planned.world.observations
    missing: list[Address] = [used.address for used in node.inputs if used.address not in records]
    if missing:
        raise UsageError(f"{node.address} needs {missing[0]}, which was never made", hint="Make or adopt that first.")
    read = read_digests(node, records.__getitem__, observations.get)
    return read, observations.get(node.address, Observation())
