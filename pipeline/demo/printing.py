"""Prints plain text to PDF: selectable text, a running header and a page number, several pages a document.

The same text gives the same bytes (reportlab's `invariant`: a fixed date and document id).
"""

import io
import re
import textwrap
from dataclasses import dataclass

from reportlab.lib.pagesizes import A4
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.pdfgen.canvas import Canvas

_MARGIN = 56  # points: 2 cm
_LEADING = 12
_FONT, _HEADING = "Times-Roman", "Helvetica"
_SIZE = 10
#: About what fits between the margins in the body's font.
_COLUMNS = 100
_LINES = int((A4[1] - 2 * _MARGIN - 2 * _LEADING) // _LEADING)
#: pydoc draws a rule down the left of each class; on paper an indentation says the same.
_GUTTER = re.compile(r"^(?: *\|(?:  )?)+")


@dataclass(frozen=True, kw_only=True)
class Printed:
    pdf: bytes
    pages: int


def print_pdf(text: str, *, title: str, password: str | None = None) -> Printed:
    """`text` as an A4 PDF. Characters that the built-in fonts lack are printed as `?`.

    With a `password` the file cannot be opened without it (128-bit RC4: reportlab's AES draws random bytes).
    """
    lines: list[str] = []
    for line in text.split("\n"):
        plain = _GUTTER.sub(lambda gutter: "    " * gutter.group().count("|"), line.rstrip()).expandtabs()
        lines += textwrap.wrap(plain, _COLUMNS, subsequent_indent="  ", break_long_words=True) or [""]
    encryption = None if password is None else StandardEncryption(password, ownerPassword="owner", strength=128)
    sink = io.BytesIO()
    canvas = Canvas(sink, pagesize=A4, invariant=1, encrypt=encryption)
    canvas.setTitle(title)
    pages = [lines[start : start + _LINES] for start in range(0, len(lines), _LINES)]
    for number, page in enumerate(pages, start=1):
        canvas.setFont(_HEADING, 8)
        canvas.drawString(_MARGIN, A4[1] - 36, title)
        canvas.drawCentredString(A4[0] / 2, 30, f"Page {number} of {len(pages)}")
        body = canvas.beginText(_MARGIN, A4[1] - _MARGIN - _LEADING)
        body.setFont(_FONT, _SIZE, _LEADING)
        for line in page:
            indent = len(line) - len(line.lstrip())
            body.setXPos(indent * 3)  # points a leading space: a space of the body's font is too thin to read
            body.textLine(line.lstrip().encode("cp1252", "replace").decode("cp1252"))
            body.setXPos(-indent * 3)
        canvas.drawText(body)
        canvas.showPage()
    canvas.save()
    return Printed(pdf=sink.getvalue(), pages=len(pages))
