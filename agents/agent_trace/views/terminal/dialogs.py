"""Questions before something is changed, and the page of keys."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Static

__all__ = ["Help", "Question"]

_CSS = """
{name} {{ align: center middle; background: $background 60%; }}
{name} > Vertical {{
    width: 72; max-width: 96%; height: auto; max-height: 96%; padding: 0 1;
    border: round $accent; background: $surface;
}}
.-ascii {name} > Vertical, {name}.-ascii > Vertical {{ border: ascii $accent; }}
{name} Input {{ margin: 1 0 0 0; background: $panel; }}
{name} Horizontal {{ height: 1; margin: 1 0 0 0; }}
{name} Button {{ margin: 0 2 0 0; }}
"""


class Question(ModalScreen[str | None]):
    """Asks whether something is to be done; answers with the text that was typed, or None for no.

    Without a text to type, yes is the empty text.
    """

    DEFAULT_CSS = _CSS.format(name="Question")

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "yes", show=False),
        Binding("n,escape", "no", show=False),
    ]

    def __init__(self, text: str, *, asks: str | None = None, filled: str = "") -> None:
        """`asks` is what is to be typed, if anything is; `filled` stands there already."""
        super().__init__()
        self._text = text
        self._asks = asks
        self._filled = filled

    def compose(self) -> ComposeResult:
        """Make the widgets."""
        with Vertical():
            yield Static(self._text, markup=False)
            if self._asks is not None:
                yield Input(self._filled, placeholder=self._asks, compact=True)
            with Horizontal():
                keys = ("enter", "escape") if self._asks is not None else ("y", "n")
                yield Button(f"Yes ({keys[0]})", id="yes", compact=True)
                yield Button(f"No ({keys[1]})", id="no", compact=True)

    def on_mount(self) -> None:
        """Let a slip of the finger be a no."""
        self.query_one("Input" if self._asks is not None else "#no").focus()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Take the answer of the mouse."""
        event.stop()
        if event.button.id == "yes":
            self.action_yes()
        else:
            self.action_no()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Take the answer of the enter key."""
        event.stop()
        self.action_yes()

    def action_yes(self) -> None:
        """Answer with yes."""
        typed = self.query_one(Input).value.strip() if self._asks is not None else ""
        self.dismiss(typed)

    def action_no(self) -> None:
        """Answer with no."""
        self.dismiss(None)


class Help(ModalScreen[None]):
    """The keys."""

    DEFAULT_CSS = _CSS.format(name="Help")

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,question_mark,enter", "leave", show=False)
    ]

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def compose(self) -> ComposeResult:
        """Make the widgets."""
        with Vertical():
            yield Static(self._text, markup=False)

    def on_click(self) -> None:
        """Leave."""
        self.action_leave()

    def action_leave(self) -> None:
        """Leave."""
        self.dismiss(None)
