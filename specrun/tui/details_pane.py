"""The Details tab: what else is known of a node, and what the run was told about it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from specrun.model.digest import Json
from specrun.tui.palette import Line
from specrun.tui.text_pane import TextPane
from specrun.views.facts import made_text, scores
from specrun.views.node_view import NodeState, NodeView
from specrun.views.quantities import number
from specrun.views.run_view import RunView
from specrun.views.text import cells, clean, wrap

MAX_CONFIG_BYTES = 1 << 20


class DetailsPane(TextPane):
    """Everything else that is known: worker, GPUs, fingerprint, facts, and the config of this run."""

    def __init__(self, log_path: Callable[[str], Path | None], *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._log_path = log_path

    def _depends_on(self, node: NodeView | None, view: RunView) -> object:
        if node is None:
            return (view.status, view.structure, len(view.notices))
        return (node.state, node.attempt, node.pid, node.digest, node.output, node.missing, node.approval)

    def lines(self, node: NodeView | None, view: RunView) -> list[Line]:
        return self._run_lines(view) if node is None else self._node_lines(node)

    def _run_lines(self, view: RunView) -> list[Line]:
        values = [
            ("project", view.project),
            ("run", view.run),
            ("spec", view.spec),
            ("status", view.status),
            ("host", view.host),
            ("supervisor", f"pid {view.pid}" if view.pid else ""),
        ]
        lines: list[Line] = [(), *(line for name, value in values if value for line in self.field(name, value))]
        if view.notices:
            lines += self.heading("Notices")
            for notice in view.notices:
                style = {"warning": self.palette.warn, "error": self.palette.bad}.get(notice.level, self.palette.text)
                lines += self.paragraph(notice.text, style)
        return lines

    def _node_lines(self, node: NodeView) -> list[Line]:
        planned = node.planned
        worker = " ".join(part for part in (node.worker, f"(pid {node.pid})" if node.pid else "") if part)
        values = [
            ("kind", clean(planned.kind) if planned else ""),
            ("state", f"{node.state}, attempt {node.attempt}" if node.attempt > 1 else str(node.state)),
            ("worker", worker),
            ("GPUs", ", ".join(map(str, node.gpus))),
            ("reaches out", _reach(node)),
            ("resumed", "yes: the interrupted work was kept" if node.resumed else ""),
            ("output", node.output),
            ("fingerprint", (clean(planned.fingerprint or "") if planned else "") or ""),
            ("digest", clean(node.digest)),
            ("log", str(self._log_path(node.address.text) or node.log_path or "")),
        ]
        lines: list[Line] = [(), *(line for name, value in values if value for line in self.field(name, value))]
        if node.missing and node.state is NodeState.WAITING:
            lines += self.heading("Waits for")
            lines += [line for text in node.missing for line in self.linked(text, self.palette.text)]
        made = made_text(node.facts)
        measured = scores(node.facts)
        if made or measured:
            lines += self.heading("Facts")
            lines += self.paragraph(made, self.palette.text) if made else []
            lines += [line for name, value in measured.items() for line in self.field(name, number(value), 26)]
        return [*lines, *self._request_lines(node)]

    def _request_lines(self, node: NodeView) -> list[Line]:
        """The command and the config as this run froze them; they lie beside the log."""
        request = self._request(node)
        config = request.get("config")
        lines: list[Line] = []
        if isinstance(config, dict):
            argv = config.get("argv")
            if isinstance(argv, list):
                lines += [*self.heading("Command"), *self.paragraph(clean(" ".join(map(str, argv))), self.palette.text)]
            lines += [*self.heading("Config"), *self._tree(config, 3)]
        return lines

    def _request(self, node: NodeView) -> Mapping[str, Any]:
        path = self._log_path(node.address.text)
        try:
            if path is None or (path.parent / "request.json").stat().st_size > MAX_CONFIG_BYTES:
                return {}
            data = json.loads((path.parent / "request.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return data if isinstance(data, dict) else {}

    def _tree(self, values: Mapping[str, Json], indent: int) -> list[Line]:
        lines: list[Line] = []
        for key, value in values.items():
            name = f"{' ' * indent}{clean(str(key))}: "
            if isinstance(value, dict) and value:
                lines += [((name, self.palette.dim),), *self._tree(value, indent + 2)]
                continue
            first, *rest = wrap(_value(value), max(10, self.inner_width - cells(name) - 1))
            lines.append(((name, self.palette.dim), (first, self.palette.text)))
            lines += [((" " * cells(name) + line, self.palette.text),) for line in rest]
        return lines


def _reach(node: NodeView) -> str:
    if node.planned is None or not node.planned.external:
        return ""
    asks = "; needs approval: apply --yes" if node.approval else ""
    return f"yes: it writes outside this machine{asks}"


def _value(value: Json) -> str:
    return clean(json.dumps(value, ensure_ascii=False))
