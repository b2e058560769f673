"""Word documents (.docx): paragraphs of the text, tables, headers, footers, notes and text boxes.

The file is edited where its text stands, so that styles, pictures, numbering and fields stay as they are. Office Open
XML: ECMA-376; a paragraph is ``w:p``, a stretch of one format ``w:r`` with its properties ``w:rPr`` and texts ``w:t``.
"""

import io
import re
import zipfile
from collections import Counter
from typing import Any

from pipelines.documents.parts import Parts, outer, refuse
from pipelines.generation import Note

__all__ = ["MOST_BYTES", "MOST_FILES", "word"]

MOST_BYTES, MOST_FILES = 200_000_000, 5000
"""Of what a document unpacks to; a bomb has more."""
_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_SPACE = "{http://www.w3.org/XML/1998/namespace}space"
_TEXTS = re.compile(r"word/(document|header\d*|footer\d*|footnotes|endnotes|comments)\.xml")
_BREAKS = {_W + name for name in ("tab", "br", "cr", "drawing", "pict", "object", "fldChar", "sym")}
_ENDS = re.compile(r"[.:!?。：！？]\s*$")
_PLAIN = {_W + name for name in ("lang", "noProof")}


def word(data: bytes, name: str) -> Parts:
    """The paragraphs of a Word document; formatting inside a sentence becomes that of its longest part."""
    from lxml import etree

    archive = _opened(data, name)
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    trees: dict[str, Any] = {}
    left: Counter[str] = Counter()
    for info in archive.infolist():
        left["picture"] += info.filename.startswith("word/media/")
        left["diagram"] += bool(re.match(r"word/(charts/chart|diagrams/data)[^/]*\.xml", info.filename))
        if _TEXTS.fullmatch(info.filename):
            try:
                tree = etree.fromstring(archive.read(info), parser).getroottree()
            except (etree.XMLSyntaxError, zipfile.BadZipFile, EOFError, ValueError) as error:
                raise refuse("document_damaged", name, str(error)[:200]) from None
            if tree.docinfo.doctype:
                raise refuse("document_unsafe", name)
            trees[info.filename] = tree
    stretches: list[list[Any]] = []
    mixed = 0
    for tree in trees.values():
        left["deleted"] += sum(1 for _ in tree.iter(_W + "delText"))
        for paragraph in tree.iter(_W + "p"):
            for stretch in _stretches(paragraph):
                if "".join(node.text or "" for node in stretch).strip():
                    stretches.append(stretch)
                    mixed += len({_format(node) for node in stretch}) > 1

    def rebuild(texts: list[str]) -> bytes:
        for stretch, new in zip(stretches, texts, strict=True):
            _replace(stretch, new)
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as written:
            for info in archive.infolist():
                tree = trees.get(info.filename)
                whole = archive.read(info) if tree is None else etree.tostring(
                    tree, xml_declaration=True, encoding="UTF-8", standalone=True
                )  # fmt: skip
                written.writestr(info, whole, compress_type=info.compress_type)
        return out.getvalue()

    notes = [Note("document_uniform", {"count": mixed})] if mixed else []
    cores = [outer("".join(node.text or "" for node in stretch))[1] for stretch in stretches]
    return Parts(cores, rebuild, left, notes)


def _opened(data: bytes, name: str) -> zipfile.ZipFile:
    if data.startswith(b"\xd0\xcf\x11\xe0"):
        raise refuse("document_encrypted", name)  # an encrypted .docx, or a .doc, is an OLE file
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
        entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, EOFError) as error:
        raise refuse("document_damaged", name, str(error)) from None
    if len(entries) > MOST_FILES or sum(info.file_size for info in entries) > MOST_BYTES:
        raise refuse("document_unpacks", name)
    if any(info.flag_bits & 1 for info in entries):
        raise refuse("document_encrypted", name)
    if "word/document.xml" not in archive.namelist():
        raise refuse("document_damaged", name, "no word/document.xml")
    return archive


def _stretches(paragraph: Any) -> list[list[Any]]:
    """The texts of a paragraph that are translated together.

    They end at a tab, break, picture, field or link, and where a format ends together with a sentence or a label, so
    that "Date: " stays bold.
    """
    found: list[list[Any]] = [[]]
    before: Any = None
    for node in paragraph.iter(_W + "t", *_BREAKS):
        if next(node.iterancestors(_W + "p")) is not paragraph:
            continue  # of a text box inside this paragraph; it comes by itself
        if node.tag in _BREAKS:
            found.append([])
            before = None
            continue
        link = next(node.iterancestors(_W + "hyperlink"), None)
        said = "".join(each.text or "" for each in found[-1])
        ended = bool(said) and _format(found[-1][-1]) != _format(node) and _ENDS.search(said)
        if found[-1] and (link is not before or ended):
            found.append([])
        found[-1].append(node)
        before = link
    return [stretch for stretch in found if stretch]


def _format(node: Any) -> bytes:
    """What a text looks like: the properties of its run, but for those that nobody sees."""
    from lxml import etree

    properties = node.getparent().find(_W + "rPr")
    if properties is None:
        return b""
    return b"".join(etree.tostring(child) for child in properties if child.tag not in _PLAIN)


def _replace(stretch: list[Any], new: str) -> None:
    """Put a text in the place of a stretch, in the format that most of it had."""
    whole = "".join(node.text or "" for node in stretch)
    before, core, after = outer(whole)
    if new == core:
        return
    sizes: Counter[bytes] = Counter()
    for node in stretch:
        sizes[_format(node)] += len(node.text or "")
    wanted = sizes.most_common(1)[0][0]
    keeper = next(node for node in stretch if _format(node) == wanted)
    for node in stretch:
        node.text = ""
    keeper.text = before + re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]", "", new) + after
    keeper.set(_SPACE, "preserve")
