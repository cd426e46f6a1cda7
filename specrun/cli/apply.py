"""`specrun apply`: make everything so."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from specrun.cli.github import as_text
from specrun.cli.project import Planned, add_choice, add_spec, graph_of, load, plan_project
from specrun.errors import ApprovalMissing, ExitCode, PlanOutdated, UsageError
from specrun.model.plan import Action, Cause, PlannedNode
from specrun.run.job import Job
from specrun.run.launch import launch, new_run_id, wait_for_start
from specrun.spec.quantities import duration_s
from specrun.store.locks import ProjectLock
from specrun.store.paths import ProjectPaths
from specrun.store.recover import recover
from specrun.store.state import State
from specrun.views.text import clean

SHORTEST_POLL_S = 1.0
STOPPED_PATIENCE_S = 2.0
UI = ("tui", "plain", "json", "quiet")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_spec(parser)
    add_choice(parser)
    parser.add_argument("--ui", choices=UI, help="dashboard, lines, events as JSON, or nothing (default: what fits)")
    parser.add_argument("--yes", action="store_true", help="agree to writing outside this machine")
    parser.add_argument("--detach", action="store_true", help="start the run and return at once")
    parser.add_argument(
        "--wait", action="store_true", help="when people are waited for, go on by itself as they finish"
    )
    parser.add_argument("--poll", default="60s", help="with --wait: how often to look (default: 60s)")
    parser.add_argument("-v", "--verbose", action="store_true", help="the nodes' own output too")


def run(arguments: argparse.Namespace) -> int:
    poll_s = poll_of(arguments) if arguments.wait else None
    saved = saved_plan(arguments)
    project = load(arguments)
    paths = ProjectPaths(project.project_dir, project.output_root)
    mend(paths)
    planned = plan_project(project, arguments)
    if saved is not None:
        check_saved(saved, planned)
    ui = arguments.ui or default_ui()
    waits = poll_s is not None and planned.plan.with_action(Action.WAIT)
    if not planned.plan.has_changes and not waits:
        return nothing_to_do(planned, "plain" if arguments.detach else ui, detach=arguments.detach)
    return carry_out(planned, arguments, ui, poll_s=poll_s)


def poll_of(arguments: argparse.Namespace) -> float:
    """Seconds, of `--poll`. Raises UsageError."""
    try:
        return max(SHORTEST_POLL_S, duration_s(arguments.poll))
    except ValueError as error:
        raise UsageError(f"--poll: {error}") from None


def mend(paths: ProjectPaths) -> None:
    """Finish what a killed run left half published, before planning. Raises LockedError."""
    if not paths.state_db.exists():
        return
    with ProjectLock(paths.lock).hold("apply"), State.open(paths.state_db) as state:
        recover(state, paths)
        state.mark_crashed_runs()


def default_ui() -> str:
    # Light, but a run in the background does not need it.
    from specrun.tui.terminal import dashboard_refusal

    return "plain" if dashboard_refusal(os.environ) else "tui"


def saved_plan(arguments: argparse.Namespace) -> dict[str, Any] | None:
    """A file written by `plan --out` in the place of the spec: its command line becomes ours."""
    path = Path(arguments.spec) if arguments.spec else None
    if path is None or path.suffix in (".yaml", ".yml") or not path.is_file():
        return None
    try:
        content: dict[str, Any] = json.loads(path.read_text())
        if content["specrun_plan"] != 1:
            raise ValueError("unknown format")
        asked, arguments.spec = dict(content["asked"]), str(content["spec"])
        content["plan"]["nodes"], content["graph"]
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{path}: neither a project spec (.yaml) nor a saved plan", hint="`specrun plan --out FILE` saves one."
        ) from error
    given = [name for name in asked if getattr(arguments, name)]
    if given:
        raise UsageError(f"--{given[0]} cannot be given with a saved plan", hint="Make a new plan with it.")
    for name, value in asked.items():
        setattr(arguments, name, value)
    return content


def check_saved(saved: dict[str, Any], planned: Planned) -> None:
    """Raises PlanOutdated: the same command would plan something else now."""
    now = json.loads(json.dumps(planned.plan.to_json()))
    if saved["plan"]["state"] != now["state"]:
        raise PlanOutdated("the saved plan is out of date: something was made since", hint="Make a new plan.")
    before = {n["address"]: (n["action"], n["fingerprint"]) for n in saved["plan"]["nodes"]}
    after = {n["address"]: (n["action"], n["fingerprint"]) for n in now["nodes"]}
    moved = [a for a in {**before, **after} if before.get(a) != after.get(a)]
    # Nodes below one that runs have no fingerprint yet: what they would do is compared itself.
    graph = {node["address"]: node for node in json.loads(json.dumps(graph_of(planned)))}
    was = {node["address"]: node for node in saved["graph"]}
    moved += [a for a in {**was, **graph} if was.get(a) != graph.get(a)]
    if moved:
        raise PlanOutdated(f"the saved plan is out of date: {moved[0]} has changed since", hint="Make a new plan.")


def nothing_to_do(planned: Planned, ui: str, *, detach: bool) -> int:
    if ui == "json":
        # Nothing happened, and that is what a reader of events should see.
        from specrun.cli.foreground import JsonLines
        from specrun.cli.outlet import Outlet

        outlet = Outlet()
        JsonLines(outlet).begin()
        outlet.close()
    if ui in ("tui", "plain"):
        # Of a detached run standard output is its id, and here is none.
        with contextlib.redirect_stdout(sys.stderr if detach else sys.stdout):
            show_plan(planned, verbose=False)
    return ExitCode.WAITING if planned.plan.with_action(Action.WAIT) else ExitCode.DONE


def show_plan(planned: Planned, *, verbose: bool) -> None:
    # An apply that draws nothing does not need it.
    from specrun.cli.plan import show

    with contextlib.suppress(BrokenPipeError):  # whoever reads may stop reading; the work goes on
        show(planned, verbose=verbose)
        sys.stdout.flush()


def carry_out(planned: Planned, arguments: argparse.Namespace, ui: str, *, poll_s: float | None) -> int:
    job = make_job(planned, approved=approved(planned, arguments, waits=poll_s is not None), poll_s=poll_s)
    if arguments.detach:
        wait_for_start(planned.paths.run(job.run), launch(job, planned.paths))
        sys.stdout.write(f"{job.run}\n")
        sys.stderr.write("started; `specrun attach` shows it\n")
        return ExitCode.DONE
    if ui == "tui":
        # Textual is imported when there is a dashboard to draw.
        from specrun.cli.dashboard import run_with_dashboard
        from specrun.tui.terminal import dashboard_refusal

        refusal = dashboard_refusal(os.environ)
        if refusal is not None:
            raise UsageError(f"--ui tui: {refusal}", hint="Leave --ui away, or write --ui plain.")
        return run_with_dashboard(job, planned.paths, previous_facts(planned))
    if ui == "plain":
        show_plan(planned, verbose=False)
    return in_the_foreground(job, planned, ui, verbose=arguments.verbose)


def approved(planned: Planned, arguments: argparse.Namespace, *, waits: bool) -> bool:
    """Raises ApprovalMissing: something writes outside the machine and nobody can be asked.

    waits: what waits for people now may run later, when nobody can be asked any more.
    """
    external = [n for n in planned.plan.nodes if n.external and (n.action.runs or (waits and n.action is Action.WAIT))]
    outside = [str(n.address) for n in external]
    if not outside or arguments.yes:
        return True
    names = ", ".join(outside)
    if not sys.stdin.isatty() or arguments.detach:
        raise ApprovalMissing(f"{names} would write outside this machine", hint="Add --yes to agree.")
    show_plan(planned, verbose=False)
    sys.stderr.write(f"\n{names} will write outside this machine.\n{as_text(what_is_written(external))}Go on? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise ApprovalMissing("not approved: nothing was done")
    return True


def what_is_written(nodes: Sequence[PlannedNode]) -> str:
    """What each node says of what it will do, one line a thing."""
    lines = []
    for node in nodes:
        told = [*node.notes, *(r.text for r in node.reasons if r.cause in (Cause.OBSERVATION, Cause.CONFIG))]
        lines += [f"  {clean(node.address.text)}: {clean(text)}\n" for text in dict.fromkeys(told)]
    return "".join(lines)


def make_job(planned: Planned, *, approved: bool, poll_s: float | None = None) -> Job:
    project, wish = planned.project, planned.wish
    job = Job(
        run=new_run_id(datetime.now()),
        project=project.name,
        spec_file=os.fspath(project.spec_file),
        spec_yaml=project.resolved_yaml,
        project_dir=project.project_dir,
        output_root=project.output_root,
        seed=project.seed,
        settings=project.settings,
        nodes=project.nodes,
        plan=planned.plan,
        replace=tuple(wish.replace),
        approved=approved,
        poll_s=poll_s,
        targets=None if wish.targets is None else tuple(wish.targets),
        exclude=tuple(wish.exclude),
    )
    return job.having_seen(planned.world)


def in_the_foreground(job: Job, planned: Planned, ui: str, *, verbose: bool) -> int:
    """This process is the supervisor."""
    # A plan with nothing to do, or a dashboard, does not need the executor in this process.
    from specrun.cli.foreground import printer_for
    from specrun.cli.outlet import Outlet
    from specrun.run.supervisor import Supervision, supervise

    outlet = Outlet()
    printer = printer_for(ui, planned.paths.run(job.run), outlet, verbose=verbose)
    code = supervise(job, Supervision(listeners=[printer.handle], tick=printer.tick))
    try:
        printer.summarise(planned.paths.run(job.run), Path.cwd(), previous_facts(planned))
        # Whoever reads in a pager may take their time; whoever stopped the run does not wait for a reader.
        outlet.close(STOPPED_PATIENCE_S if code in (ExitCode.INTERRUPTED, ExitCode.TERMINATED) else None)
    except OSError:  # nobody reads any more: the run's own end counts
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return code


def previous_facts(planned: Planned) -> dict[str, dict[str, Any]]:
    return {str(a): dict(r.facts) for a, r in planned.world.records.items()}
