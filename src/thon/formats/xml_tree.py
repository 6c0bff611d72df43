"""Small XML files by the standard library, without what makes XML dangerous: no document type, hence no entities."""

from __future__ import annotations

import os
from xml.etree import ElementTree
from xml.parsers import expat

from thon.base.errors import FormatError

_LARGEST = 1 << 26


def parse_xml(content: bytes, path: str | os.PathLike[str], what: str = "XML") -> ElementTree.Element:
    """Root element; names of elements and attributes come without their namespaces.

    Args:
        content: The document.
        path: File that it is from, for messages.
        what: What it should be, for messages.

    Raises:
        FormatError: If it is not well-formed XML, larger than 64 MB, or declares a document type: entities that
            expand into gigabytes are declared there, and no microscope writes one.
    """
    if len(content) > _LARGEST:
        raise FormatError(f"too large for {what}", path=path, got=f"{len(content):,} bytes", expected=f"≤ {_LARGEST:,}")
    parser = expat.ParserCreate(namespace_separator="}")
    builder = ElementTree.TreeBuilder()

    def start(tag: str, attributes: dict[str, str]) -> None:
        builder.start(_local(tag), {_local(name): value for name, value in attributes.items()})

    def refuse(*_: object) -> None:
        raise FormatError("declares a document type", path=path, expected=f"{what} without <!DOCTYPE …>")

    parser.StartElementHandler = start
    parser.EndElementHandler = lambda tag: builder.end(_local(tag))
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(content, True)
        return builder.close()
    except (expat.ExpatError, AssertionError, ValueError, LookupError) as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(f"not {what}, or damaged", path=path, got=error, mend="copy the file again") from error


def _local(name: str) -> str:
    return name.rpartition("}")[2]
