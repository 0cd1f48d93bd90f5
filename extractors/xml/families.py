"""XML families by the local name of their root: what is left out, what is a heading, where the title is."""

from __future__ import annotations

from dataclasses import dataclass, field


def names(listed: str) -> frozenset[str]:
    """A set of names written one after the other."""
    return frozenset(listed.split())


@dataclass(frozen=True)
class Family:
    """Local names: `skip` is left out with all inside, `heads` are headings, `title` places of the title, in order of preference,
    `blocks` are paragraphs even when empty of characters of their own; `called` gives a heading to elements that have none;
    `cited` are items of a list of references, `hypertext` holds HTML as characters; `data` lists `name: value` instead of prose."""

    name: str
    skip: frozenset[str] = frozenset()
    heads: frozenset[str] = names("title head heading subheading subtitle")
    title: tuple[str, ...] = ("title",)
    blocks: frozenset[str] = frozenset()
    called: dict[str, str] = field(default_factory=dict)
    cited: frozenset[str] = frozenset()
    hypertext: frozenset[str] = frozenset()
    data: bool = False


_JATS = Family(
    "jats",
    names(
        """journal-meta article-id article-categories author-notes pub-date history permissions self-uri alt-title
        related-article related-object counts custom-meta-group graphic media object-id annotation kwd-group funding-group
        issue volume elocation-id fpage lpage xref-group contrib-id ext-link-group fn-type institution-id pub-history"""
    ),
    names("title article-title"),
    ("article-title",),
    names("p td th title ref contrib-group disp-formula caption list-item def-item fn aff"),
    {"abstract": "Abstract", "ref-list": "References", "ack": "Acknowledgments"},
    names("ref"),
)
_AKOMA = Family(
    "akoma-ntoso",
    names("meta"),
    names("heading subheading docTitle"),
    ("docTitle", "longTitle", "shortTitle"),
    names("p num content"),
)
_TEI = Family("tei", names("teiHeader facsimile pb fw lb cb gb milestone"), names("head"), ("title",), names("p l ab head note"))
_INVOICE = Family("fatturapa", names("Signature Attachment Allegati"), frozenset(), (), data=True)
_RFC = Family(
    "rfc",
    names("rfc-editor seriesInfo address link iref cref author area workgroup boilerplate toc displayreference"),
    names("name title"),
    ("title",),
    names("t reference"),
    {"abstract": "Abstract", "references": "References"},
    names("reference"),
)
_PATENT = Family(
    "patent",
    names(
        """publication-reference application-reference classifications-ipcr classifications-cpc us-parties us-related-documents
        assignees figures us-term-of-grant classification-national classification-locarno us-field-of-classification-search
        examiners agents drawings parties us-references-cited references-cited domestic-filing-data document-id inventors
        correspondence-address assignee continuity-data number-of-claims number-of-figures priority-claims foreign-priority-data
        subdoc-drawings us-application-series-code application-number-series-code filing-date publication-filing-type
        classification-ipc classification-us number"""
    ),
    names("heading invention-title title-of-invention"),
    ("invention-title", "title-of-invention"),
    names("p claim-text paragraph"),
    {"abstract": "ABSTRACT", "subdoc-abstract": "ABSTRACT", "claims": "CLAIMS", "subdoc-claims": "CLAIMS"},
)
_DOCBOOK = Family(
    "docbook",
    names("indexterm remark imageobject graphic inlinegraphic bookinfo-id keywordset subjectset revhistory"),
    names("title subtitle"),
    ("title",),
    names("para simpara formalpara listitem programlisting screen literallayout"),
)
_FORMEX = Family(
    "formex",
    names("BIB.INSTANCE BIB.DOC NO.CELEX FT GR.ANNOTATION"),
    names("TI STI TITLE TI.ART STI.ART"),
    ("TITLE", "TI"),
    names("P ALINEA NP TXT"),
)
_USLM = Family(
    "uslm",
    names("meta metadata dublinCore style script toc"),
    names("heading officialTitle subheading"),
    ("officialTitle", "docTitle", "title"),
    names("p num content chapeau continuation heading officialTitle longTitle"),
)
_FEED = Family(
    "feed",
    names(
        """link guid id category generator docs language lastBuildDate updatePeriod updateFrequency image logo icon comments commentRss
        post-id site cloud ttl updated thumbnail"""
    ),
    names("title"),
    ("title",),
    hypertext=names("description encoded summary content subtitle"),
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
    **{root: _FEED for root in ("rss", "feed", "RDF")},
    "us-patent-application": _PATENT,
    "us-patent-grant": _PATENT,
    "patent-application-publication": _PATENT,
    "PATDOC": _PATENT,
    "book": _DOCBOOK,
    "chapter": _DOCBOOK,
    "refentry": _DOCBOOK,
    **{root: _USLM for root in ("bill", "resolution", "pLaw", "uscDoc", "statuteCompilation", "statutesAtLarge", "amendment", "lawDoc")},
    **{root: _FORMEX for root in ("ACT", "ANNEX", "GENERAL", "CONS.ACT", "JUDGMENT", "AGR")},
}
