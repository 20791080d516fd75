"""The web site that the demo crawls: Python's own documentation of its standard library, served on loopback.

This file is run as a script in a child process and imports nothing but the standard library: pydoc imports what it
documents, and 650 modules must not end up in the caller's interpreter.

    python -S -P docs_server.py          # prints `PORT COUNT` on one line, serves until its stdin is closed

    GET /, /index.html, /NAME.html, /keywords.html, /topic?key=NAME      pydoc's pages, unchanged but for the below
    GET /NAME.txt                                                        the same documentation as plain text
    GET /robots.txt                                                      what a crawler must leave alone
    GET /anything-else                                                   404

Pages are a function of the Python installation alone. Every module is imported before the first page is rendered, so
that no page depends on which were asked for before it, nor on how many servers share the work; addresses in memory,
the installation's folder and the machine's name are replaced; the caller starts it with an empty environment and a
fixed hash seed. `-S` keeps site-packages off the path: only the standard library is documented.
"""

import contextlib
import http.server
import importlib
import io
import json
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

#: Packages and modules that act on import (open a browser, print, exit), are test suites, or say more about the
#: machine than about the language. `__main__` modules run a program.
LEFT_OUT = frozenset({"antigravity", "this", "idlelib", "turtledemo", "test", "lib2to3", "msilib"})
LEFT_OUT_LAST = re.compile(r"__main__|tests?|__(?:p?hello)(?:_alias|_only)?__|_?xx.*|_test.*|_ctypes_test|_sysconfigdata.*")
#: What stands in for the installation's folder and for the platform in every page.
LIBRARY_FOLDER = f"/usr/lib/python{sys.version_info.major}.{sys.version_info.minor}"
PLATFORM = "Linux"
_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{6,16}\b(?=&gt;|>|\.|$)")


def is_left_out(name: str) -> bool:
    """Whether a dotted module name is one that must not be imported to be documented."""
    parts = name.split(".")
    return parts[0] in LEFT_OUT or any(LEFT_OUT_LAST.fullmatch(part) for part in parts)


def module_names() -> list[str]:
    """Every module of the standard library that can be imported here, dotted, in an order of its own; they all are."""
    names = [name for name in sys.builtin_module_names if not is_left_out(name)]
    waiting = [(list(sys.path), "")]
    while waiting:
        folders, prefix = waiting.pop()
        for found in pkgutil.iter_modules(folders, prefix):
            if is_left_out(found.name):
                continue
            names.append(found.name)
            if found.ispkg and _imports(found.name):
                waiting.append((list(sys.modules[found.name].__path__), found.name + "."))
    return [name for name in sorted(set(names)) if _imports(name)]


def _imports(name: str) -> bool:
    # A standard library has modules for other systems and for libraries that were absent when it was built. They
    # raise ImportError or whatever else they like, and have no page.
    try:
        importlib.import_module(name)
    except (Exception, SystemExit):  # noqa: BLE001
        return False
    return name in sys.modules
