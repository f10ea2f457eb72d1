"""The dialog for one request, or for a grant the operator makes from a refused line: read, narrow, decide.

What is sent is what stands on the screen: its hash, its revision, and the narrowed change if it was narrowed. When the
keeper says that something has changed, the new text takes the place of the old and is to be read again; when somebody else
has decided, that is said and no key does anything any more (threats 68, 69).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, cast

from claude_bottle.dashboard import narrowing
from claude_bottle.dashboard.asking import stand, text
from claude_bottle.dashboard.tui.aside import aside
from claude_bottle.dashboard.tui.dialog import Dialog
from claude_bottle.dashboard.tui.form import Form
from claude_bottle.errors import BottleError
from claude_bottle.model.requests import AGENT, APPROVED, ONCE, SESSION, SUBMITTED, UNTIL
from claude_bottle.state.paths import Paths
from claude_bottle.workflow import answering
from claude_bottle.workflow.decide import chosen_scope

View = Mapping[str, Any]
_SCOPES = {"o": ONCE, "s": SESSION, "a": AGENT}


class RequestDialog(Dialog):
    """Of `view`; `granting` is the change when it is the operator's own grant. `merge` is called with the bottle and the
    grant once something was granted for the agent, so that its manifest can follow."""

    keys: ClassVar[dict[str, str]] = {
        "o": "once", "s": "session", "a": "agent", "u": "until", "e": "edit", "r": "reject",
    }  # fmt: skip

    def __init__(self, paths: Paths, identity: str, view: View, marker: str, granting: View | None = None) -> None:
        super().__init__("", marker)
        self._paths, self.identity, self.view = paths, identity, view
        self._granting, self._narrowed = granting, cast("View | None", None)
        self._credential = ""
        """Which of the operator's credentials is to be used, if it is not the one of the name asked for."""
        self._busy = False
        self.place = ""
        """Which of how many, for the title."""
        self.merge: Callable[[str, str], None] = lambda _identity, _grant: None

    @property
    def request(self) -> tuple[str, str] | None:
        """The request that is shown; None for the operator's own grant."""
        return None if self._granting is not None else (self.identity, str(self.view.get("id")))

    def on_mount(self) -> None:
        super().on_mount()
        self._show(self.view)

    def now(self, view: View | None) -> None:
        """What the keeper says of the request now; None when it is not known any more."""
        if self._busy and view is not None and view.get("state") == APPROVED:
            self._end(stand(view).removeprefix("already decided: "))
        if self._busy or self._granting is not None or self.over:
            return
        if view is None:
            self._end("its bottle has ended, or its keeper is gone: nothing to decide")
        elif view.get("state") != SUBMITTED:
            self.view = view
            self._end(stand(view))
        elif any(view.get(key) != self.view.get(key) for key in ("hash", "revision", "lines", "reach", "warnings")):
            self.view, self._narrowed, self._credential = view, None, ""
            self._show(view)
            self.tell("it has changed meanwhile: read it again")

    def chosen(self, key: str) -> None:
        if key in _SCOPES:
            self._decide(_SCOPES[key])
        elif key == "u":
            self.app.push_screen(Form("until when", [("2h, 3d, 18:00, or a date", "8h")]), self._until)
        elif key == "r":
            self.app.push_screen(Form("reject", [("what the agent is told", "")]), self._reject)
        elif key == "e":
            self._edit()

    def _edit(self) -> None:
        found = narrowing.fields(self._change)
        if not found:
            self.tell("this is approved as it is, or not at all")
            return
        shown = [(one.label, one.value) for one in found]
        if self._change.get("kind") == "credential":
            shown.append(("which credential of yours", self._credential or str(self._change["rule"]["credential"])))
        self.app.push_screen(Form("narrow it: any, words, or none", shown), self._edited)

    @property
    def _change(self) -> Mapping[str, Any]:
        change = self._narrowed or self._granting or self.view.get("change")
        return change if isinstance(change, Mapping) else {}

    def _edited(self, values: list[str] | None) -> None:
        if values is None:
            return
        found = narrowing.fields(self._change)
        try:
            change = narrowing.narrowed(self._change, list(zip(found, values, strict=False)))
        except ValueError as problem:
            self.tell(str(problem))
            return
        if len(values) > len(found):
            asked = str(change["rule"]["credential"])
            self._credential = "" if values[-1].strip() == asked else values[-1].strip()
        self._work(lambda: self._preview(change), lambda view: self._previewed(change, view))

    def _preview(self, change: Mapping[str, Any]) -> View:
        request = "" if self._granting is not None else str(self.view.get("id"))
        return answering.preview(self.identity, change, request=request, paths=self._paths)

    def _previewed(self, change: Mapping[str, Any], view: View) -> None:
        if self._granting is not None:
            self._granting, self.view = change, view
            self._show(view)
        else:
            self._narrowed = change
            self._show(view, narrowed=True)

    def _until(self, values: list[str] | None) -> None:
        if not values:
            return
        try:
            self._decide(*chosen_scope(UNTIL, values[0].strip()))
        except BottleError as problem:
            self.tell(f"{problem.what}: {problem.do}")

    def _reject(self, values: list[str] | None) -> None:
        if values is None:
            return
        if self._granting is not None:
            self.dismiss()
            return
        message = answering.rejection(self.view, values[0])
        self._work(lambda: answering.answer(self.identity, message, self._paths), self._decided)

    def _decide(self, scope: str, until: str = "") -> None:
        def ask() -> View:
            if self._granting is not None:
                revision = int(self.view.get("revision", 0))
                message = answering.own_grant(self._granting, scope=scope, until=until, revision=revision)
            else:
                message = answering.approval(
                    self.view, scope=scope, until=until, change=self._narrowed, credential=self._credential
                )
            return answering.answer(self.identity, message, self._paths)

        self._work(ask, self._decided)

    def _decided(self, view: View) -> None:
        self.view = view
        self._end(stand(view).removeprefix("already decided: "))
        if view.get("scope") == AGENT and view.get("state") == "applied":
            self.merge(self.identity, str(view.get("grant")))

    def _work(self, ask: Callable[[], View], then: Callable[[View], None]) -> None:
        """Ask the keeper, away from the screen's thread; nothing can be decided meanwhile."""
        self._busy = True
        self._end("asking the keeper …")

        async def run() -> None:
            try:
                view = await aside(ask)
            except (BottleError, OSError) as problem:
                self._busy = False
                self._failed(problem)
            else:
                self._busy = False
                self.over = ""
                then(view)

        self.run_worker(run(), exclusive=True)

    def _failed(self, problem: BottleError | OSError) -> None:
        """Nothing happened. What stands there now is what the board says next."""
        words = [problem.what, problem.why] if isinstance(problem, BottleError) else [str(problem)]
        self._narrowed, self._credential = None, ""
        self._show(self.view)
        self.tell(": ".join(word for word in words if word))
        self.app.call_later(self.app.board_changed)  # type: ignore[attr-defined]

    def _show(self, view: View, *, narrowed: bool = False) -> None:
        title = "your own grant" if self._granting is not None else f"request{self.place}"
        self.put(text(self.identity, view, narrowed=narrowed, credential=self._credential), title)

    def tell(self, words: str) -> None:
        self.told = words
        self.say()

    def _end(self, words: str) -> None:
        self.over = words
        self.say()
