"""The pages of `tamis browse`: plain HTML from templates, every list made by the database, no script at all.

Texts of a crawl are hostile. They are escaped by the template engine, and the pages forbid the browser everything but
our style sheet: a tag that slipped through could neither run, nor load, nor send anything. Addresses of the crawl are
shown as text, never as links.

The server listens on 127.0.0.1 only. Other users of the machine and other pages in the same browser can reach that
too, so every address begins with a random token, and a request under another host name (a name that somebody points
at 127.0.0.1) is refused.
"""

import hmac
import time
from collections.abc import Awaitable, Callable
from importlib import resources
from typing import Any, Final

import duckdb
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from pipeline.browse.asked import ORDERS, PAGE_ROWS, Asked, read_asked
from pipeline.browse.shelf import Shelf, TooSlowError
from pipeline.dups import stretches
from pipeline.report import charts
from pipeline.report.offending import MAX_CHARACTERS, offending, pieces, words_in
from pipeline.report.page import clean, count, size, style_sheet
from stages.reasons import REASONS

#: Characters of a text on a document's page.
TEXT_CHARACTERS: Final = MAX_CHARACTERS
#: Characters of each of two texts that are compared word by word: the comparison takes the product of their lengths.
_COMPARED_CHARACTERS: Final = 20_000
_HOSTS: Final = frozenset({"127.0.0.1", "localhost"})
_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def application(shelf: Shelf, *, token: str) -> Any:
    """The pages of a run as an ASGI application, all of them below /TOKEN/."""
    pages = _Pages(shelf)
    base = f"/{token}"
    routes = [
        Route(f"{base}/", pages.documents),
        Route(f"{base}/document/{{id}}", pages.document),
        Route(f"{base}/compare/{{id}}", pages.compare),
        Route(f"{base}/style.css", pages.style),
    ]
    return _guarded(Starlette(routes=routes), token=token)


def _guarded(inner: Any, *, token: str) -> Callable[..., Awaitable[None]]:
    """Only GET, only with the token, only under a name of this machine; our headers on every answer."""

    async def guarded(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await inner(scope, receive, send)
            return
        headers = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1").rpartition(":")
        given = scope["path"].split("/")[1] if scope["path"].startswith("/") else ""
        if (host[0] or host[2]) not in _HOSTS or not hmac.compare_digest(given.encode(), token.encode()):
            answer = Response("Open the address that tamis browse printed.\n", 403, _HEADERS, "text/plain")
            await answer(scope, receive, send)
            return
        if scope["method"] not in ("GET", "HEAD"):
            await Response("Only GET.\n", 405, _HEADERS, "text/plain")(scope, receive, send)
            return

        async def with_headers(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                own = [(name.lower().encode(), value.encode()) for name, value in _HEADERS.items()]
                message = {**message, "headers": [*message["headers"], *own]}
            await send(message)

        await inner(scope, receive, with_headers)

    return guarded


class _Pages:
    """Each method answers one kind of address; the server calls them in threads."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._environment = Environment(
            loader=PackageLoader("pipeline.browse", "."), autoescape=True, undefined=StrictUndefined,
            trim_blocks=True, lstrip_blocks=True,
        )  # fmt: skip
        self._environment.filters |= {"count": count, "size": size, "number": charts.number, "clean": clean}
        self._environment.globals |= {"sentences": REASONS, "shelf": shelf, "manifest": shelf.manifest}

    def style(self, _request: Request) -> Response:
        own = resources.files("pipeline.browse").joinpath("browse.css").read_text("utf-8")
        return Response(style_sheet() + own, media_type="text/css")

    def documents(self, request: Request) -> Response:
        started = time.perf_counter()
        asked, rows, more, found, exact, problem = Asked(), list[dict[str, Any]](), False, 0, True, ""
        # A form sends every field, also those that were left empty.
        query = {name: value for name, value in request.query_params.items() if value != ""}
        try:
            asked = read_asked(
                query,
                scores=frozenset(self._shelf.scores),
                reasons=frozenset(reason for _, reason, _ in self._shelf.reasons()),
                stages=frozenset(stage["stage"] for stage in self._shelf.manifest["counts"]["stages"]),
            )
        except ValueError as error:
            return self._page("documents", 400, asked=Asked(), rows=[], problem=str(error), more=False, found=0,
                              exact=True, seconds=0.0)  # fmt: skip
        try:
            rows, more = self._shelf.page(asked)
            found, exact = self._shelf.count(asked)
        except (TooSlowError, duckdb.OutOfMemoryException) as error:
            problem = f"{error}. Narrow the list, for example by outcome, reason or source, and search again."
        return self._page(
            "documents", 200 if not problem else 503, asked=asked, rows=rows, more=more, found=found, exact=exact,
            problem=problem, seconds=time.perf_counter() - started,
        )  # fmt: skip

    def document(self, request: Request) -> Response:
        row = self._shelf.document(request.path_params["id"])
        if row is None:
            return self._page("missing", 404, id=request.path_params["id"])
        text = self._shelf.text(row)
        words = Asked(words=request.query_params.get("words", "")[:500]).wanted_words
        shown = (text or row["excerpt"] or "")[:TEXT_CHARACTERS]
        marks = offending(row, shown, list(self._shelf.stages)) if row["outcome"] != "kept" else []
        spans = marks or words_in(shown, words)
        return self._page(
            "document", 200, row=row, text=text, shown=shown, pieces=pieces(shown, spans), marked=bool(marks),
            found=bool(spans) and not marks, stages=self._story(row), duplicates=self._shelf.duplicates(row["id"]),
            partner=self._shelf.document(row["partner"]) if row["partner"] else None,
            withheld=self._shelf.is_withheld(row["id"]), characters=TEXT_CHARACTERS,
        )  # fmt: skip

    def _story(self, row: dict[str, Any]) -> list[tuple[str, bool, dict[str, Any]]]:
        """(stage, whether the document passed it, what it measured), up to the one that dropped it."""
        values = self._shelf.measures(row)
        names = [stage["stage"] for stage in self._shelf.manifest["counts"]["stages"]]
        if row["outcome"] != "kept":
            names = names[: names.index(row["stage"]) + 1] if row["stage"] in names else [row["stage"]]
        elif not values:
            # The work folder is gone: the last form of each column stands beside the kept document.
            values = {names[-1]: {name: row[name] for name in self._shelf.scores}}
        return [
            (name, name != row["stage"], {key: one for key, one in values.get(name, {}).items() if _tells(key, one)})
            for name in names
        ]

    def compare(self, request: Request) -> Response:
        row = self._shelf.document(request.path_params["id"])
        partner = self._shelf.document(row["partner"]) if row and row["partner"] else None
        if row is None or partner is None:
            return self._page("missing", 404, id=request.path_params["id"])
        one, two = self._shelf.text(partner), self._shelf.text(row)
        texts = [text for text in (one, two) if text is not None]
        cut = any(len(text) > _COMPARED_CHARACTERS for text in texts)
        found = []
        if len(texts) == 2:
            found = stretches(texts[0][:_COMPARED_CHARACTERS], texts[1][:_COMPARED_CHARACTERS])
        return self._page("compare", 200, row=row, partner=partner, stretches=found, cut=cut, there=len(texts) == 2)

    def _page(self, name: str, status: int, **values: Any) -> HTMLResponse:
        template = self._environment.get_template(f"{name}.html.jinja")
        html = template.render(page_rows=PAGE_ROWS, orders=ORDERS, **values)
        # A lone surrogate of a hostile address cannot be sent as UTF-8.
        return HTMLResponse(html.encode("utf-8", "replace"), status)


def _tells(column: str, value: Any) -> bool:
    """Whether a measure is worth its line: stop words are counted in over thirty languages, nearly all of them 0."""
    return value is not None and not (column.startswith("stop_words_") and value == 0)
