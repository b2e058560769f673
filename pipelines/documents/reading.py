"""Formats that are read and not written back: PDF and HTML, for summaries."""

import io
import re
from collections import Counter

from pipelines.documents.parts import Parts, decoded, refuse

__all__ = ["MOST_PAGES", "html", "pdf"]

MOST_PAGES = 2000
_BLOCKS = frozenset(
    re.findall(
        r"\w+",
        "address article aside blockquote body br dd div dl dt figcaption footer form h1 h2 h3 h4 h5 h6 header hr li "
        "main ol p pre section table td th title tr ul",
    )
)
_UNSEEN = ("script", "style", "noscript", "template", "nav", "svg", "iframe", "object")


def pdf(data: bytes, name: str) -> Parts:
    """The text of each page."""
    from pypdf import PdfReader
    from pypdf.errors import PyPdfError

    try:
        file = PdfReader(io.BytesIO(data))
        if file.is_encrypted and not file.decrypt(""):
            raise refuse("document_encrypted", name)
        if len(file.pages) > MOST_PAGES:
            raise refuse("document_unpacks", name)
        pages = [page.extract_text().strip() for page in file.pages]
    except (PyPdfError, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise refuse("document_damaged", name, str(error)[:200]) from None
    # A scanned page is a picture.
    return Parts([page for page in pages if page], _read_only, Counter(page=sum(not page for page in pages)))


def html(data: bytes, name: str) -> Parts:
    """The text that a browser would show, without scripts and navigation."""
    from lxml import etree
    from lxml import html as markup

    declared = re.search(rb"<meta[^>]{0,200}charset=[\"']?([\w-]+)", data[:4096])
    try:
        whole = data.decode(declared[1].decode()) if declared else decoded(data, name)[0]
    except (LookupError, UnicodeDecodeError):
        whole = decoded(data, name)[0]
    whole = re.sub(r"^\s*<\?xml[^>]*\?>", "", whole)
    try:
        root = markup.document_fromstring(whole, parser=markup.HTMLParser(no_network=True, huge_tree=False))
    except (etree.ParserError, etree.XMLSyntaxError, ValueError) as error:
        raise refuse("document_damaged", name, str(error)[:200]) from None
    pieces: list[str] = []
    hidden: set[object] = set()
    for event, node in etree.iterwalk(root, events=("start", "end", "comment", "pi")):
        unseen = not isinstance(node.tag, str) or node.tag in _UNSEEN
        if event == "start" and unseen:
            hidden.add(node)
        block = node.tag in _BLOCKS
        if event == "start":
            pieces.append(("\n\n" if block else "") + ((node.text or "") if not hidden else ""))
            continue
        hidden.discard(node)
        pieces.append(("\n\n" if block else "") + ((node.tail or "") if not hidden else ""))
    blocks = [" ".join(block.split()) for block in re.split(r"\n\n", "".join(pieces))]
    pictures = sum(1 for _ in root.iter("img"))
    return Parts([block for block in blocks if block], _read_only, Counter(picture=pictures))


def _read_only(_texts: list[str]) -> bytes:
    raise AssertionError("only what is in TRANSLATABLE is put together again")
