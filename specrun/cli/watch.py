"""`specrun watch`: keep everything so, while the spec and its sources change."""

from __future__ import annotations

import argparse
import os
import queue
import signal
import sys
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from specrun.cli.apply import make_job, mend, poll_of, previous_facts
from specrun.cli.foreground import Printer
from specrun.cli.outlet import Outlet
from specrun.cli.project import Planned, add_spec, find_spec, pairs, paths_of, plan_project
from specrun.cli.state import attach_command
from specrun.cli.watch_hooks import Hooks, nodes_behind
from specrun.cli.watch_voice import Voice, voice_for
from specrun.errors import ExitCode, LockedError, SpecError, SpecrunError, UsageError
from specrun.kinds.registry import REGISTRY
from specrun.model.address import Address
from specrun.model.diagnostic import Diagnostic
from specrun.model.event import RunAmended
from specrun.model.plan import Action, Plan
from specrun.run.notifier import Notifier
from specrun.run.ongoing import Ongoing
from specrun.run.patience import Patience
from specrun.run.places import places_of
from specrun.run.refresh import Known, LookedAt
from specrun.run.watching import Debounce, Said, hold_back, mark_of_attempt, said_of, what_to_say
from specrun.spec.compiled import load_compiled
from specrun.spec.environment import ENV_FILES
from specrun.spec.project import Project
from specrun.store.locks import ProjectLock
from specrun.views.quantities import count

FOLLOW_S = 0.1
LOCK_POLL_S = 1.0
LONGEST_WAIT_S = 1.0
"""A signal that comes just before Python begins to wait is heard when it has waited."""
PATIENCE_S = 1.0
"""For a reader, when the watch ends."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_spec(parser)
    parser.add_argument("--target", action="append", default=[], metavar="ADDRESS", help="only it and what it needs")
    parser.add_argument("--exclude", action="append", default=[], metavar="ADDRESS", help="leave it as it is")
    parser.add_argument("--poll", default="60s", help="how often everything is looked at anew (default: 60s)")
    parser.add_argument("--ui", choices=("plain", "json"), default="plain", help="lines, or events as JSON")
    parser.add_argument("--yes", action="store_true", help="agree to writing outside this machine")
    parser.add_argument("-v", "--verbose", action="store_true", help="the nodes' own output too")
    parser.set_defaults(replace=[])


def run(arguments: argparse.Namespace) -> int:
    poll_s = poll_of(arguments)
    spec = find_spec(arguments.spec)
    outlet = Outlet()
    watch = Watch(spec, arguments, voice_for(arguments.ui, outlet, verbose=arguments.verbose), poll_s=poll_s)
    with heard(watch.signalled):
        try:
            return watch.run()
        except BrokenPipeError:
            if watch.run_folder is not None:
                said = "nobody reads any more: the watch ends; the run that is going on finishes by itself"
                sys.stderr.write(f"{said}, and `{attach_command(watch.run_folder)}` shows it\n")
            raise
        finally:
            watch.close()
            with suppress(OSError):
                outlet.close(PATIENCE_S)


@contextmanager
def heard(listener: signal._HANDLER) -> Iterator[None]:
    """The three signals that end programs go to the listener."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, listener) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class LookLeft(Exception):
    """The watch ends while it looks."""


class Watch:
    """One loop: wait for news, follow the run, look, say what is new, amend the run or start one."""

    def __init__(self, spec: Path, arguments: argparse.Namespace, voice: Voice, *, poll_s: float) -> None:
        self._spec = spec
        self._arguments = arguments
        self._voice = voice
        self._poll_s = poll_s
        # The one queue whose put may be called by a signal handler. A text is the connection of a webhook.
        self._news: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._debounce = Debounce()
        self._hooks = Hooks(self._news.put)
        self._hook_debounce = Debounce()
        self._called: set[str] = set()
        self._signals: list[int] = []
        self._obeyed = 0
        self._notifier: Notifier | None = None
        self._files: tuple[Path, ...] = ()
        self._looked_at = LookedAt()
        self._ongoing: Ongoing | None = None
        self._printer: Printer | None = None
        self._planned: Planned | None = None
        self._previous: dict[str, dict[str, Any]] = {}
        self._said: dict[Address, Said] | None = None
        self._failed: dict[Address, str] = {}
        self._mistakes = ""
        self._status = ""
        self._away: set[str] = set()
        self._changed_files: dict[str, None] = {}
        self._looked_at_s = time.time()
        self._because: list[str] = []
        self._next_poll = 0.0

    def signalled(self, number: int, _frame: object) -> None:
        self._signals.append(number)
        if len(self._signals) > 2:
            # Something blocks: a full pipe, a file system that hangs.
            raise KeyboardInterrupt
        self._news.put(None)

    @property
    def run_folder(self) -> Path | None:
        """Of the run that is going on."""
        return None if self._ongoing is None else self._ongoing.folder

    def close(self) -> None:
        self._hooks.close()
        if self._notifier is not None:
            self._notifier.close()

    def run(self) -> int:
        with suppress(SpecrunError):
            mend(paths_of(self._load()))
        self._look()
        while True:
            self._obey()
            if self._signals and (self._ongoing is None or signal.SIGHUP in self._signals):
                return ExitCode.INTERRUPTED if self._signals[0] == signal.SIGINT else ExitCode.TERMINATED
            self._wait()
            self._follow()
            if not self._signals:
                self._look_if_due(time.monotonic())

    def _wait(self) -> None:
        """Until something is heard, or something is due."""
        now = time.monotonic()
        due = [at for at in (self._debounce.due_at, self._hook_debounce.due_at, self._next_poll) if at is not None]
        until = min(due) if self._ongoing is None else now + FOLLOW_S
        with suppress(queue.Empty):
            news = self._news.get(timeout=min(max(0.0, until - now), LONGEST_WAIT_S))
            while True:
                if not self._signals:
                    self._hear(news)
                news = self._news.get_nowait()

    def _hear(self, connection: str | None) -> None:
        if connection is None:
            self._debounce.touch(time.monotonic())
        else:
            self._called.add(connection)
            self._hook_debounce.touch(time.monotonic())

    def _obey(self) -> None:
        """Of the signals: once, the run is asked to stop; twice, it ends at once."""
        if len(self._signals) > self._obeyed and self._ongoing is not None and signal.SIGHUP not in self._signals:
            self._obeyed = len(self._signals)
            self._ongoing.stop(at_once=self._obeyed > 1)

    # The run.

    def _follow(self) -> None:
        if self._ongoing is None or self._printer is None:
            return
        gone = self._ongoing.ended
        if not self._pass_on() and gone:
            self._settle(self._ongoing, self._printer)

    def _pass_on(self) -> bool:
        """Print what happened in the run; whether anything did."""
        if self._ongoing is None or self._printer is None:
            return False
        events = self._ongoing.poll()
        for event in events:
            self._printer.handle(event)
            if isinstance(event, RunAmended):
                self._say_news(Plan.from_json(event.plan))
        self._printer.tick()
        return bool(events)

    def _settle(self, ongoing: Ongoing, printer: Printer) -> None:
        """The run is over: look again, for it may have been overtaken."""
        self._ongoing = self._printer = None
        ongoing.close()
        if ongoing.locked_out:
            self._look()
            return
        printer.summarise(ongoing.folder, Path.cwd(), self._previous)
        if ongoing.finished is not None and ongoing.finished.exit_code == ExitCode.OUR_FAULT:
            with suppress(LockedError):
                mend(ongoing.paths)
        self._failed.update(ongoing.failed)
        if ongoing.given_up:
            self._failed.update(ongoing.untouched)
        for address in ongoing.settled - set(ongoing.failed):
            self._failed.pop(address, None)
        if not self._signals:
            self._look(after=ongoing)

    # The look.

    def _look_if_due(self, now: float) -> None:
        """At everything, or at what a server called for."""
        if self._debounce.take(now) or now >= self._next_poll:
            self._look()
        elif self._hook_debounce.take(now) and self._called:
            self._look(called=frozenset(self._called))

    def _look(self, *, after: Ongoing | None = None, called: frozenset[str] = frozenset()) -> None:
        """called: only what is reached by these connections is asked anew."""
        began = time.monotonic()
        self._called.clear()
        files, self._changed_files = [*self._changed_files] or self._written_unheard(), {}
        self._looked_at_s = time.time()
        # A run that goes on tells later what follows from them.
        if files or self._ongoing is None:
            # Editors save by way of files that are gone at once.
            self._because = [os.path.relpath(file) for file in files if os.path.exists(file)]
        if not called:
            self._next_poll = began + self._poll_s
        try:
            project = self._load()
            known = self._known(project, called)
            looked_at = self._looked_at if known is not None else LookedAt()
            patience = Patience(say=self._voice.say, check=self._meanwhile)
            planned = plan_project(project, self._arguments, looked_at=looked_at, known=known, patience=patience)
        except LookLeft:
            return
        except (SpecError, UsageError) as error:
            self._broken(error)
            return
        if self._mistakes:
            self._mistakes = ""
            self._voice.say("the spec has no mistakes any more")
        self._tell_servers(patience)
        self._files, self._looked_at = project.files, looked_at
        self._listen(project, looked_at)
        for text in self._hooks.follow(project):
            self._voice.say(text)
        self._planned = planned = self._held_back(planned)
        self._compare(planned, after)
        self._start_or_say(planned)
        debounce = self._debounce if known is None else self._hook_debounce
        debounce.looked(began, time.monotonic())

    def _meanwhile(self) -> None:
        """While a look goes on. Raises LookLeft: the watch ends."""
        if self._signals:
            raise LookLeft
        self._pass_on()

    def _tell_servers(self, patience: Patience) -> None:
        """When a server stops answering, and when it answers again."""
        for server, why in patience.away.items():
            if server not in self._away:
                self._away.add(server)
                self._voice.say(f"{server} does not answer since {time.strftime('%H:%M')}: {why}")
        for server in sorted((self._away & patience.asked) - patience.away.keys()):
            self._away.discard(server)
            self._voice.say(f"{server} answers again")

    def _known(self, project: Project, called: frozenset[str]) -> Known | None:
        """What the last look saw; None: everything is looked at."""
        last = self._planned
        if not called or last is None or last.project.resolved_yaml != project.resolved_yaml:
            return None
        return Known(last.world, nodes_behind(project, called))

    def _load(self) -> Project:
        """Raises SpecError."""
        return load_compiled(
            self._spec,
            REGISTRY,
            variables=pairs(self._arguments.var, "var"),
            sets=pairs(self._arguments.set, "set"),
            environ=os.environ,
            cache_dir=self._spec.resolve().parent / ".specrun" / "cache",
        )

    def _broken(self, error: SpecrunError) -> None:
        """Said once; what was planned before goes on."""
        if str(error) != self._mistakes:
            self._mistakes = str(error)
            self._voice.broken(error)
        found = error.diagnostics if isinstance(error, SpecError) else ()
        places = [d.where.file for d in found if isinstance(d, Diagnostic) and d.where is not None and d.where.line]
        self._files = tuple(dict.fromkeys([*self._files, *map(Path, places)]))
        if self._notifier is None or self._planned is None:
            self._listen(None, LookedAt())

    def _written_unheard(self) -> list[str]:
        """Files of the spec that were written since the last look, perhaps before anybody listened to them."""
        written = []
        for file in (self._spec, *self._files):
            with suppress(OSError):
                if file.stat().st_mtime > self._looked_at_s:
                    written.append(str(file))
        return list(dict.fromkeys(map(os.path.abspath, written)))

    def _listen(self, project: Project | None, looked_at: LookedAt) -> None:
        """Watch the folders that the plan depends on now."""
        folder = self._spec.absolute().parent
        files = {self._spec, *self._files, *(folder / name for name in ENV_FILES), *looked_at.files}
        own = [folder / ".specrun"] if project is None else [paths_of(project).state_dir, project.output_root]
        places = places_of(files, looked_at.folders, own)
        if self._notifier is not None and self._notifier.places == places:
            return
        if self._notifier is not None:
            self._notifier.close()
        self._notifier = Notifier(places, self._file_changed)
        for problem in self._notifier.problems:
            self._voice.say(f"{problem}; it is looked at every {self._arguments.poll}")
        # What changed between the look and the listening was not heard.
        self._debounce.touch(time.monotonic())

    def _file_changed(self, paths: list[str]) -> None:
        """Called from the notifier's threads."""
        self._changed_files.update(dict.fromkeys(paths))
        self._news.put(None)

    def _held_back(self, planned: Planned) -> Planned:
        for node in planned.plan.nodes:
            if self._failed.get(node.address) == "":
                self._failed[node.address] = mark_of_attempt(node)
        return replace(planned, plan=hold_back(planned.plan, self._failed, approved=self._arguments.yes))

    def _compare(self, planned: Planned, after: Ongoing | None) -> None:
        """Say what is new; while a run goes on, that is what it makes of the new plan."""
        plan = planned.plan
        if self._said is None:
            self._voice.plan(plan)
            self._said = {node.address: said_of(node) for node in plan.nodes}
        elif self._ongoing is not None:
            self._previous = {**previous_facts(planned), **self._previous}
            self._amend(self._ongoing, planned)
        else:
            looked_at = after.looked_at if after is not None else set()
            self._say_news(plan, quiet={n.address for n in plan.nodes if not n.action.runs} & looked_at)

    def _amend(self, ongoing: Ongoing, planned: Planned) -> None:
        try:
            ongoing.amend(make_job(planned, approved=self._arguments.yes))
        except OSError as error:
            self._say_once(f"the run could not be told of it: {error.strerror}; it is tried again at the next look")

    def _say_news(self, plan: Plan, *, quiet: Collection[Address] = ()) -> None:
        """quiet: nodes whose news the lines of a run told."""
        news = what_to_say(self._said or {}, plan, quiet=quiet)
        if news:
            self._voice.difference(plan.project, news, self._because)
            self._because = []
            self._status = ""
        self._said = {node.address: said_of(node) for node in plan.nodes}

    def _start_or_say(self, planned: Planned) -> None:
        if self._ongoing is not None:
            return
        holder = ProjectLock(planned.paths.lock).holder() if planned.plan.has_changes else None
        if holder is not None:
            self._say_once(f"waits for {holder}")
            self._next_poll = min(self._next_poll, time.monotonic() + LOCK_POLL_S)
        elif planned.plan.has_changes:
            self._status = ""
            self._previous = previous_facts(planned)
            self._ongoing = Ongoing(make_job(planned, approved=self._arguments.yes), planned.paths)
            self._printer = self._voice.new_run(self._ongoing.folder)
        else:
            places = self._notifier.places if self._notifier is not None else None
            folders = len(places.flat | places.deep) if places is not None else 0
            failed = sum(node.address in self._failed for node in planned.plan.with_action(Action.DISABLED))
            held = f"; {count(failed, 'failed node')} to be mended" if failed else ""
            self._say_once(f"watching {count(folders, 'folder')}; looks around every {self._arguments.poll}{held}")

    def _say_once(self, text: str) -> None:
        if text != self._status:
            self._status = text
            self._voice.say(text)
