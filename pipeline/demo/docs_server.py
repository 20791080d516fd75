"""The web site that the demo crawls: Python's own documentation of its standard library, served on loopback.

This file is run as a script in a child process and imports nothing but the standard library: pydoc imports what it
documents, and 650 modules must not end up in the caller's interpreter.

    python -S -P docs_server.py     prints its port, serves until its standard input is closed

    GET /  /index.html  /NAME.html  /topics.html  /keywords.html  /topic?key=NAME      pydoc's pages
    GET /NAME.txt       the same documentation as plain text
    GET /robots.txt     what a crawler must leave alone
    GET anything else   404

Pages are a function of the Python installation alone. Every module is imported before the first page is rendered, so
that no page depends on which were asked for before it, nor on how many servers share the work. Addresses in memory,
the installation's folders and the name of the platform are replaced. The caller starts it with an empty environment
and a fixed hash seed, and `-S` keeps site-packages off the path, so only the standard library is documented.
"""

import ast
import contextlib
import functools
import html
import http.server
import importlib
import os
import pkgutil
import platform
import pydoc
import re
import sys
import sysconfig
import threading
import urllib.parse
import warnings

# pydoc's own rendering of a whole page, what `python -m pydoc -p` serves; typeshed does not list it.
from pydoc import _url_handler  # type: ignore[attr-defined]

#: Packages and modules that open a browser or print on import, start a GUI, or are test suites.
LEFT_OUT = frozenset({"antigravity", "this", "idlelib", "turtledemo", "test", "lib2to3", "msilib"})
#: The same for one part of a dotted name: programs, tests, and the build's own configuration, which is long and
#: says more about the machine than about the language.
_LEFT_OUT_PART = re.compile(r"__main__|tests?|__p?hello.*|_?xx.*|_test.*|_ctypes_test|_sysconfigdata.*")
#: What stands in every page for the installation's folder and for the platform.
LIBRARY_FOLDER = f"/usr/lib/python{sys.version_info.major}.{sys.version_info.minor}"
PLATFORM = "Linux"
#: Renders help without overstruck letters; typeshed does not list it either.
_TEXT = pydoc.plaintext  # type: ignore[attr-defined]
#: An object's address in memory: `<function f at 0x7f..>`, and ctypes' `handle 7f..`.
_ADDRESS = re.compile(r"\b(at(?: |&nbsp;)0x|handle )[0-9a-fA-F]+")


def is_left_out(name: str) -> bool:
    """Whether a dotted module name is one that must not be imported in order to be documented."""
    parts = name.split(".")
    return parts[0] in LEFT_OUT or any(_LEFT_OUT_PART.fullmatch(part) for part in parts)


def import_everything() -> frozenset[str]:
    """Import every module on `sys.path` that can be imported here, and return their dotted names."""
    names = {name for name in sys.builtin_module_names if not is_left_out(name) and _imports(name)}
    waiting = [(list(sys.path), "")]
    while waiting:
        folders, prefix = waiting.pop()
        for found in sorted(pkgutil.iter_modules(folders, prefix), key=lambda module: module.name):
            if is_left_out(found.name) or not _imports(found.name):
                continue
            names.add(found.name)
            if found.ispkg:
                waiting.append((list(sys.modules[found.name].__path__), found.name + "."))
    return frozenset(names)


def _imports(name: str) -> bool:
    # The library has modules for other systems, and for C libraries that were absent when it was built. They raise
    # ImportError or whatever else they like; they have no page, and asking for it gives 404.
    try:
        importlib.import_module(name)
    except (Exception, SystemExit):  # noqa: BLE001
        return False
    return name in sys.modules


def _replace(text: str, *pairs: str) -> str:
    for old, new in zip(pairs[::2], pairs[1::2], strict=True):
        text = text.replace(old, new)
    return text


class Site:
    """The pages, rendered on request. `render` gives None where there is no such page."""

    def __init__(self) -> None:
        self.modules = import_everything()
        # pydoc reloads a module on every request, which would make a page depend on the requests before it.
        found = pydoc.locate
        pydoc.locate = lambda path, forceload=False: found(path)  # noqa: ARG005 (pydoc passes it by name)
        # The same pages in 70 % of the time: looking for a comment above each undocumented class, inspect parses the
        # class's whole module again, and pydoc escapes by splitting and joining.
        ast.parse = functools.lru_cache(maxsize=32)(ast.parse)  # type: ignore[assignment]
        pydoc.replace = _replace  # type: ignore[assignment]
        sys.argv[:] = ["pydoc"]
        sys.orig_argv[:] = ["python", "-m", "pydoc"]
        folders = {os.path.dirname(os.path.abspath(__file__)): LIBRARY_FOLDER}  # noqa: PTH100, PTH120 (see _replaced)
        folders |= {sysconfig.get_paths()["stdlib"]: LIBRARY_FOLDER, sys.executable: "/usr/bin/python"}
        folders |= {sys.prefix: "/usr", sys.base_prefix: "/usr", sys.exec_prefix: "/usr"}
        # The longest first: a prefix must not be replaced inside a longer path that has a replacement of its own.
        self._replaced = sorted(folders.items(), key=lambda pair: (-len(pair[0]), pair[0]))
        self._platform = html.escape(platform.platform(terse=True))

    def render(self, address: str) -> tuple[str, str] | None:
        """Media type and text of the page at `address` (path and query), or None."""
        parts = urllib.parse.urlsplit(address)
        name, _, suffix = parts.path.removeprefix("/").rpartition(".")
        if parts.path == "/robots.txt":
            return "text/plain", "User-agent: *\n" + "".join(f"Disallow: /{name}.\n" for name in sorted(LEFT_OUT))
        if suffix == "txt" and name in self.modules:
            return "text/plain", self._stable(pydoc.render_doc(sys.modules[name], renderer=_TEXT))
        if parts.path in ("/", "/index.html", "/topics.html", "/keywords.html") or (
            suffix == "html" and name in self.modules
        ):
            return "text/html", self._stable(_url_handler(parts.path))
        topic = urllib.parse.parse_qs(parts.query).get("key", [""])[0]
        if parts.path == "/topic" and topic in {*pydoc.Helper.topics, *pydoc.Helper.keywords}:
            return "text/html", self._stable(_url_handler(f"/topic?key={topic}"))
        return None

    def _stable(self, page: str) -> str:
        for real, shown in self._replaced:
            page = page.replace(real, shown)
        return _ADDRESS.sub(r"\g<1>7f0000000000", page).replace(self._platform, PLATFORM)


class Handler(http.server.BaseHTTPRequestHandler):
    """HTTP/1.1, so that the crawler keeps its connection; no header that tells the time."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # a body would wait up to 40 ms for the header's acknowledgement
    timeout = 60  # seconds without a request: the crawler has gone

    def __init__(self, *arguments: object, site: Site) -> None:
        self.site = site
        super().__init__(*arguments)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        page = self.site.render(self.path)
        media_type, text = page or ("text/html", "<!DOCTYPE html><title>Not found</title><p>There is no such page.")
        body = text.encode("utf-8", "replace")
        self.send_response_only(200 if page else 404)
        self.send_header("Server", "pydoc")
        self.send_header("Content-Type", f"{media_type}; charset=UTF-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 (the name is the base class's)
        pass


def main() -> None:
    warnings.simplefilter("ignore")
    # The protocol with the parent keeps the real pipes; what the modules read and print goes nowhere.
    parent, answer = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "w")
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
    server = http.server.HTTPServer(("127.0.0.1", 0), functools.partial(Handler, site=Site()))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, file=answer, flush=True)
    with contextlib.suppress(OSError):
        parent.read()  # returns when the parent closes the pipe or dies
    os._exit(0)  # modules may have left threads and exit hooks behind


if __name__ == "__main__":
    main()
