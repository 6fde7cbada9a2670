"""What has a scheduler's or a worker's HTTP server ask for the token of its dashboard."""

from typing import Any

from tornado.web import RequestHandler

from facility.dask_process.dashboard_access import Answer, answer_instead


class Refusal(RequestHandler):
    """Answers a request of whatever method, and looks at nothing else of it."""

    def initialize(self, answer: Answer) -> None:
        """Take what to answer."""
        self.answer = answer

    def prepare(self) -> None:
        """Answer."""
        self.set_status(self.answer.status)
        for name, value in self.answer.headers.items():
            self.set_header(name, value)
        self.finish(self.answer.page)


class Guarded:
    """Mixed into a scheduler or a worker, before its class: its HTTP server asks for a token.

    Every route goes by, also those that are added later: Dask's pages, Bokeh's applications and
    their websockets, static files, metrics.

    Parameters
    ----------
    dashboard_token
        What is asked for.
    """

    http_application: Any = None

    def __init__(self, *arguments: Any, dashboard_token: str, **named: Any) -> None:
        self._dashboard_token = dashboard_token
        super().__init__(*arguments, **named)

    def start_http_server(self, *arguments: Any, **named: Any) -> None:
        """Listen, and look at each request before a route is sought for it."""
        super().start_http_server(*arguments, **named)  # type: ignore[misc]
        application, token = self.http_application, self._dashboard_token
        find = application.find_handler

        def find_handler(request: Any, **others: Any) -> Any:
            answer = answer_instead(request.uri, request.headers, token)
            if answer is None:
                return find(request, **others)
            return application.get_handler_delegate(request, Refusal, {"answer": answer})

        application.find_handler = find_handler

    async def start_unsafe(self) -> Any:
        """Begin to serve, with an HTTP server that asks.

        Raises
        ------
        RuntimeError
            Where another release of distributed has made one that does not.
        """
        started = await super().start_unsafe()  # type: ignore[misc]
        if "find_handler" not in vars(self.http_application):
            raise RuntimeError(
                "the dashboard would be open to all users of this machine: distributed starts it "
                "otherwise than it did; install the versions of requirements.lock"
            )
        return started
