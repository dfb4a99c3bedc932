"""Elsewhere: formats that are not read here, and the tools that make text of them."""

from pathlib import PurePosixPath

_PANDOC = "pandoc --to plain"
_OFFICE = "libreoffice --headless --convert-to txt"
_TOOLS = {
    ".pdf": ("PDF", "pdftotext (of poppler)"),
    ".docx": ("DOCX", _PANDOC),
    ".doc": ("DOC", _OFFICE),
    ".odt": ("ODT", _PANDOC),
    ".rtf": ("RTF", _PANDOC),
    ".pptx": ("PPTX", _OFFICE),
    ".xlsx": ("XLSX", "libreoffice --headless --convert-to csv"),
    ".mobi": ("MOBI", "ebook-convert (of calibre)"),
    ".djvu": ("DjVu", "djvutxt (of djvulibre)"),
    ".7z": ("7z", "7z x, which unpacks it"),
    ".rar": ("RAR", "unrar x, which unpacks it"),
}


def elsewhere(path: str) -> str | None:
    """Say what to do with a file of a format that is not read, by its name; None for any other."""
    suffix = PurePosixPath(path).suffix.lower()
    if suffix not in _TOOLS:
        return None
    name, tool = _TOOLS[suffix]
    return f"{name} is not read here; make text of it first, for example with {tool}"
