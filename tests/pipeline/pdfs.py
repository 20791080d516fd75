"""Small PDFs, good and hostile, written by hand for the tests."""

import zlib
from collections.abc import Sequence


def pdf(objects: dict[int, bytes], *, root: int = 1, trailer: bytes = b"") -> bytes:
    """A PDF of numbered objects with a true cross-reference table."""
    out = bytearray(b"%PDF-1.7\n")
    places = {}
    for number, body in sorted(objects.items()):
        places[number] = len(out)
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start = len(out)
    size = max(objects) + 1
    out += b"xref\n0 %d\n0000000000 65535 f \n" % size
    for number in range(1, size):
        out += b"%010d 00000 n \n" % places[number] if number in places else b"0000000000 00000 f \n"
    out += b"trailer\n<< /Size %d /Root %d 0 R %s >>\nstartxref\n%d\n%%%%EOF\n" % (size, root, trailer, start)
    return bytes(out)


def stream(data: bytes, entries: bytes = b"") -> bytes:
    return b"<< /Length %d %s >>\nstream\n%s\nendstream" % (len(data), entries, data)


def deflated(data: bytes, entries: bytes = b"") -> bytes:
    return stream(zlib.compress(data, 9), b"/Filter /FlateDecode " + entries)


FONT = b"<< /Font << /F 4 0 R >> >>"


def pages(contents: Sequence[bytes], *, resources: bytes = FONT, more: dict[int, bytes] | None = None) -> bytes:
    """One page for each content stream object. Objects from 100 on are the pages, 4 is Helvetica as font F."""
    objects = {
        1: b"<< /Type /Catalog /Pages 2 0 R >>",
        2: b"<< /Type /Pages /Count %d /Kids [%s] >>"
        % (len(contents), b" ".join(b"%d 0 R" % (100 + 2 * n) for n in range(len(contents)))),
        4: b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        5: b"<< /Title (A small title) >>",
        **(more or {}),
    }
    for number, content in enumerate(contents):
        objects[100 + 2 * number] = (
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Resources %s /Contents %d 0 R >>"
            % (resources, 101 + 2 * number)
        )
        objects[101 + 2 * number] = content
    return pdf(objects, trailer=b"/Info 5 0 R")


def text_page(text: str) -> bytes:
    """A content stream that shows each line of `text`."""
    shown = b" T* ".join(b"(%s) Tj" % line.encode("latin-1") for line in text.split("\n"))
    return stream(b"BT /F 12 Tf 14 TL 72 700 Td " + shown + b" ET")


def hello() -> bytes:
    return pages([text_page("Hello from the first page.\nIts second line."), text_page("And the second page.")])


def drawing() -> bytes:
    return pages([stream(b"0 0 m 100 100 l S")])


def form_fan_out(levels: int) -> bytes:
    """Form XObjects that each draw the next ten times: 10 ** levels drawings in about 250 bytes a level."""
    more = {}
    for level in range(levels):
        below = b"BT /F 1 Tf (x) Tj ET" if level == levels - 1 else b"/X Do " * 10
        more[10 + level] = stream(
            below,
            b"/Type /XObject /Subtype /Form /BBox [0 0 9 9] "
            b"/Resources << /Font << /F 4 0 R >> /XObject << /X %d 0 R >> >>" % (11 + level),
        )
    return pages([stream(b"/X Do")], resources=b"<< /XObject << /X 10 0 R >> >>", more=more)


def form_recursion() -> bytes:
    """A form XObject that draws itself twice."""
    form = stream(
        b"/X Do /X Do",
        b"/Type /XObject /Subtype /Form /BBox [0 0 9 9] /Resources << /XObject << /X 10 0 R >> >>",
    )
    return pages([stream(b"/X Do")], resources=b"<< /XObject << /X 10 0 R >> >>", more={10: form})


def flate_bomb(size: int) -> bytes:
    """A content stream of `size` spaces, about a thousandth of that in the file."""
    return pages([deflated(b" " * size)])


def text_operators(number: int) -> bytes:
    return pages([deflated(b"BT /F 1 Tf " + b"(ab) Tj " * number + b"ET")])


def page_tree_loop() -> bytes:
    return pdf({1: b"<< /Type /Catalog /Pages 2 0 R >>", 2: b"<< /Type /Pages /Count 3 /Kids [2 0 R 2 0 R] >>"})


def huge_count() -> bytes:
    whole = hello()
    return whole.replace(b"/Count 2", b"/Count 2000000000")


def xref_loop() -> bytes:
    whole = hello()
    start = whole.rindex(b"xref\n0 ")
    return whole.replace(b"/Info 5 0 R", b"/Info 5 0 R /Prev %d" % start)


def to_unicode(mapped: str) -> bytes:
    """A page that shows `abc` in a font whose ToUnicode map sends `b` to the UTF-16 code units in `mapped` (hex)."""
    cmap = (
        b"/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapType 2 def "
        b"1 begincodespacerange <00> <ff> endcodespacerange 3 beginbfchar <61> <0061> <62> <%s> <63> <0063> endbfchar "
        b"endcmap end end" % mapped.encode()
    )
    font = b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /ToUnicode 6 0 R >>"
    return pages([text_page("abc long enough to be one unit of text")], more={4: font, 6: stream(cmap)})
