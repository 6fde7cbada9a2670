"""The widget of a Dask cluster in a notebook: what it is, and fields to scale it."""

from collections.abc import Callable
from html import escape
from typing import Any

from facility.adaptive import Bounds
from facility.errors import FacilityError, ProblemsError

WIDTH = "150px"
ANSWER = "white-space: pre-wrap; line-height: 1.3; margin-left: 1em"


class Widget:
    """A tab with the state of a Dask cluster, and one with fields to scale its default pool.

    Parameters
    ----------
    now
        Bounds of the default pool.
    page
        Draws the Dask cluster, in HTML.
    scaling
        Draws how many workers it has and why, in HTML; nothing where it has ended.
    rescale
        Called with bounds and ``"scale"`` or ``"adapt"``; returns sentences about what was
        granted otherwise than asked, and raises `FacilityError` where nothing was.

    Raises
    ------
    ImportError
        Without ipywidgets.
    """

    def __init__(
        self,
        now: Bounds,
        page: Callable[[], str],
        scaling: Callable[[], str],
        rescale: Callable[[Bounds, str], list[str]],
    ) -> None:
        from ipywidgets import HTML, Accordion, Button, HBox, IntText, Layout, Tab, VBox

        self._draw_page, self._draw_scaling, self._rescale = page, scaling, rescale
        layout = Layout(width=WIDTH)

        def number(name: str, value: int) -> Any:
            return IntText(value, description=name, layout=layout)

        workers = number("Workers", now.maximum)
        minimum, maximum = number("Minimum", now.minimum), number("Maximum", now.maximum)
        scale = Button(description="Scale", layout=layout)
        adapt = Button(description="Adapt", layout=layout)
        self._answers = answers = HTML(), HTML()
        self._fields = (workers, scale, minimum, maximum, adapt)
        self._page, self._scaling = HTML(), HTML()

        def on_click(button: Any, answer: Any, call: str, asked: Callable[[], Bounds]) -> None:
            button.on_click(lambda _: self._ask(asked(), call, answer))

        on_click(scale, answers[0], "scale", lambda: Bounds(workers.value, workers.value))
        on_click(adapt, answers[1], "adapt", lambda: Bounds(minimum.value, maximum.value))
        accordion = Accordion(
            [HBox([workers, scale, answers[0]]), HBox([minimum, maximum, adapt, answers[1]])],
            titles=("Manual Scaling", "Adaptive Scaling"),
            layout=Layout(min_width="500px"),
        )
        self.tab = Tab([self._page, VBox([self._scaling, accordion])], titles=("Status", "Scaling"))
        self.update()

    def update(self) -> None:
        """Show what the Dask cluster is now."""
        self._page.value = self._draw_page()
        self._scaling.value = self._draw_scaling()
        for field in self._fields:
            field.disabled = not self._scaling.value

    def _ask(self, asked: Bounds, call: str, answer: Any) -> None:
        try:
            said = self._rescale(asked, call)
            colour = "inherit"
        except FacilityError as error:
            said = list(error.problems if isinstance(error, ProblemsError) else [str(error)])
            colour = "var(--jp-error-color1, firebrick)"
        for each in self._answers:
            each.value = ""
        if said:
            lines = escape("\n".join(said))
            answer.value = f'<div style="color: {colour}; {ANSWER}">{lines}</div>'
        self.update()
