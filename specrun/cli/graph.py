"""`specrun graph`: what needs what, as a list, for Graphviz or for Mermaid."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence

from specrun.cli.project import add_spec, load
from specrun.model.node import Node


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_spec(parser)
    parser.add_argument("--format", choices=("text", "dot", "mermaid"), default="text", help="how to draw it")


def run(arguments: argparse.Namespace) -> int:
    nodes = load(arguments).nodes
    draw = {"text": text, "dot": dot, "mermaid": mermaid}[arguments.format]
    sys.stdout.writelines(f"{line}\n" for line in draw(nodes))
    return 0


def text(nodes: Sequence[Node]) -> Iterator[str]:
    width = max((len(str(node.address)) for node in nodes), default=0)
    for node in nodes:
        needs = ", ".join(str(need) for need in node.needs)
        yield f"{node.address!s:<{width}}  ← {needs}" if needs else str(node.address)


def dot(nodes: Sequence[Node]) -> Iterator[str]:
    yield "digraph specrun {"
    yield "  rankdir=LR; node [shape=box, style=rounded];"
    for node in nodes:
        yield f'  "{node.address}";'
        for need in node.needs:
            yield f'  "{need}" -> "{node.address}";'
    yield "}"


def mermaid(nodes: Sequence[Node]) -> Iterator[str]:
    names = {node.address: f"n{index}" for index, node in enumerate(nodes)}
    yield "graph LR"
    for node in nodes:
        yield f'  {names[node.address]}["{node.address}"]'
        for need in node.needs:
            yield f"  {names[need]} --> {names[node.address]}"
