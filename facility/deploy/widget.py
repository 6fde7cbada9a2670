"""A Dask cluster in a notebook: what it is, and fields to scale it."""

import os
from collections.abc import Callable
from html import escape
from typing import Any
from urllib.parse import urlsplit

import dask
from dask.utils import parse_timedelta
from distributed.core import Status
from distributed.deploy.cluster import Cluster
from tornado.ioloop import PeriodicCallback

from facility import names
from facility.dask_process.dashboard_access import with_token
from facility.deploy.controller import Controller
from facility.errors import FacilityError, ProblemsError
from facility.request.bounds import Bounds

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


class DrawnCluster(Cluster):
    """How a Dask cluster is drawn; the base class calls what has no other use here."""

    _controller: Controller
    _rescale: Callable[..., Any]
    _drawn: Widget | None = None

    @property
    def _over(self) -> bool:
        """Whether it ends or has ended; what it had is gone."""
        return self.status in (Status.closing, Status.closed, Status.failed)

    @property
    def dashboard_link(self) -> str:
        """Link to the dashboard, with all that a browser needs to open it."""
        link: str = super().dashboard_link
        if names.HUB_VARIABLE in os.environ and not urlsplit(link).netloc:
            return link  # the hub asks who is there, and has the token
        return with_token(link, self._controller.backend.dashboard_token)

    def _repr_html_(self, cluster_status: object = None) -> str:
        """Draw it for a notebook, also in the widget; below stands what is missing, and why."""
        explained = f"<pre>{escape(str(self._controller.explain()))}</pre>"
        if self._over:
            # Numbers and links would be those of something that is gone.
            return f"<h3>{type(self).__name__}</h3><p>{self.name}</p>{explained}"
        page = str(super()._repr_html_(cluster_status))
        pool_states = self._controller.pools.values()
        lacks = any(state.joined < state.target or state.no_room for state in pool_states)
        return page + explained if lacks or self.status != Status.running else page

    def _scaling_status(self) -> str:
        return "" if self._over else str(super()._scaling_status())

    def _widget(self) -> Any:
        """Return the widget, None without ipywidgets."""
        if self._drawn is None:
            now = self._controller.pools[self._controller.request.config.default.name].bounds
            try:
                self._drawn = Widget(
                    now, self._repr_html_, self._scaling_status, self._rescale_default
                )
            except ImportError:
                return None
            if not self._over and self.loop is not None:
                self.loop.add_callback(self._keep_up_to_date)
        return self._drawn.tab

    def _draw_anew(self) -> None:
        """Have the widget, where there is one, show what the Dask cluster is now."""
        if self._drawn is not None:
            self._drawn.update()

    def _keep_up_to_date(self) -> None:
        seconds = parse_timedelta(dask.config.get("distributed.deploy.cluster-repr-interval"), "ms")
        callback = PeriodicCallback(self._draw_anew, 1000 * seconds)
        self.periodic_callbacks["cluster-repr"] = callback
        callback.start()

    def _rescale_default(self, bounds: Bounds, call: str) -> list[str]:
        """Do what the widget asks for; what is granted otherwise than asked."""
        said: list[str] = []
        ends = bounds.minimum, bounds.maximum
        self._rescale(ends[1:] if call == "scale" else ends, {}, call, say=said.append)
        return said
