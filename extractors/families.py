"""XML families by the local name of their root: what is left out, what is a heading, where the title is."""

from __future__ import annotations

from dataclasses import dataclass


def names(listed: str) -> frozenset[str]:
    """A set of names written one after the other."""
    return frozenset(listed.split())


@dataclass(frozen=True)
class Family:
    """Local names: `skip` is left out with all inside, `heads` are headings, `title` places of the title, in order of preference,
    `blocks` are paragraphs even when empty of characters of their own; `data` lists `name: value` instead of prose."""

    name: str
    skip: frozenset[str] = frozenset()
    heads: frozenset[str] = names("title head heading subheading subtitle")
    title: tuple[str, ...] = ("title",)
    blocks: frozenset[str] = frozenset()
    data: bool = False


_JATS = Family(
    "jats",
    names(
        """journal-meta article-id article-categories contrib-group aff author-notes pub-date history permissions self-uri
        related-article counts custom-meta-group ref-list graphic media object-id tex-math annotation kwd-group funding-group
        issue volume elocation-id fpage lpage front-stub xref-group"""
    ),
    names("title article-title"),
    ("article-title",),
    names("p td th title"),
)
_AKOMA = Family(
    "akoma-ntoso",
    names("meta coverPage"),
    names("heading subheading docTitle"),
    ("docTitle", "longTitle", "shortTitle"),
    names("p num content"),
)
_TEI = Family("tei", names("teiHeader facsimile pb fw"), names("head"), ("title",), names("p l ab head"))
_INVOICE = Family("fatturapa", names("Signature Attachment Allegati"), frozenset(), (), data=True)
_RFC = Family(
    "rfc",
    names("rfc-editor references seriesInfo address link iref cref author area workgroup"),
    names("name title"),
    ("title",),
    names("t"),
)
_PATENT = Family(
    "patent",
    names(
        """publication-reference application-reference classifications-ipcr classifications-cpc us-parties us-related-documents
        assignees figures us-term-of-grant classification-national classification-locarno us-field-of-classification-search
        examiners agents drawings parties us-references-cited references-cited domestic-filing-data document-id inventors
        correspondence-address assignee continuity-data number-of-claims number-of-figures priority-claims foreign-priority-data
        subdoc-drawings us-application-series-code application-number-series-code filing-date publication-filing-type
        classification-ipc classification-us"""
    ),
    names("heading invention-title title-of-invention"),
    ("invention-title", "title-of-invention"),
    names("p claim-text paragraph"),
)
OTHER = Family("xml", names("style script meta metadata binary binData"))
RECORDS = Family("xml-data", OTHER.skip, data=True)
FAMILIES = {
    "article": _JATS,
    "akomaNtoso": _AKOMA,
    "TEI": _TEI,
    "TEI.2": _TEI,
    "teiCorpus": _TEI,
    "FatturaElettronica": _INVOICE,
    "rfc": _RFC,
    "us-patent-application": _PATENT,
    "us-patent-grant": _PATENT,
    "patent-application-publication": _PATENT,
    "PATDOC": _PATENT,
}
