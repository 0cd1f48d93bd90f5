"""LaTeX through Docling: heads, lists, tables; formulas stay between dollars, the keys of citations in brackets.

Files that it names (`\\input`, `\\include`) are not followed and said so: in a folder of sources they are documents of their own.
When Docling gives back less than a tenth of the words, commands are stripped from the source instead.
"""

from __future__ import annotations

import io
import re

from corpus.lean import hidden
from extractors.decode import decode
from extractors.extract import ExtractConfig
from extractors.light.plain import or_as_written
from extractors.result import Extracted, first_heading, one_line

_COMMENT = re.compile(r"(?<!\\)%.*")
_INCLUDED = re.compile(r"\\(?:input|include|subfile)\b")
_MACROS = re.compile(r"\\(?:new|renew|provide)command\*?\s*\{?\\(\w+)\}?\s*\{([^{}\\$]{1,200})\}")
_WORD = re.compile(r"[^\W\d_]{3,}")


@or_as_written
def read(data: bytes, kind: str, config: ExtractConfig) -> Extracted:
    """The document as Markdown, its title and date."""
    source, encoding = decode(data)
    bare = _COMMENT.sub("", source)
    for name, meaning in _MACROS.findall(bare)[:200]:  # abbreviations that stand for words
        source = re.sub(rf"\\{name}(?![A-Za-z])(?:\{{\}}|[ ](?=[.,;:]))?", lambda match, meaning=meaning: meaning, source)  # type: ignore[misc]
    text, warnings = _docling(source), ["inclusion_left_out"] if _INCLUDED.search(bare) else []
    extractor = "docling-latex"
    plain = _stripped(bare)
    if len(_WORD.findall(text)) < 0.1 * len(_WORD.findall(plain)):
        text, extractor = plain, "latex-stripped"
        warnings.append("fallback_stripped_commands")
    title = re.search(r"\\title\*?(?:\[[^\]]*\])?\{((?:[^{}]|\{[^{}]*\})*)\}", bare)
    date = re.search(r"\\date\{([^{}\\]*)\}", bare)
    return Extracted(
        text,
        extractor,
        one_line(_stripped(title[1])) if title else first_heading(text),
        metadata={"date": one_line(date[1]) if date else ""},
        warnings=warnings,
        encoding=encoding,
    )


def _docling(source: str) -> str:
    with hidden("transformers"):
        from docling.backend.latex_backend import LatexDocumentBackend
        from docling.datamodel.base_models import InputFormat
        from docling.datamodel.document import InputDocument

    given = InputDocument(
        path_or_stream=io.BytesIO(source.encode("utf-8", "replace")),
        format=InputFormat.LATEX,
        backend=LatexDocumentBackend,
        filename="document.tex",
    )
    document = given._backend.convert()  # type: ignore[attr-defined]
    return str(document.export_to_markdown(image_placeholder="", escape_html=False, escape_underscores=False, compact_tables=True))


def _stripped(source: str) -> str:
    """The words of a source: commands and braces away, their arguments kept."""
    source = re.sub(r"\\(?:begin|end|cite\w*|ref|label|documentclass|usepackage)\*?(?:\[[^\]]*\])*\{[^{}]*\}(?:\{[^{}]*\})?", " ", source)
    source = re.sub(r"\\(?:\\|[A-Za-z]+\*?(?:\[[^\]]*\])?)", " ", source)
    return re.sub(r"[ \t]+", " ", re.sub(r"[{}]", "", source)).strip()
