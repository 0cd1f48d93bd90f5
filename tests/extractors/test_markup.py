"""XML by its families: what is text, what is a heading, what is left out. The documents are made here."""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any

import pytest
from damage import ends_in_text_or_a_verdict

from corpus.outcome import Verdict
from extractors.extract import ExtractConfig, as_measurements, extracted
from extractors.sniff import sniff

CONFIG = ExtractConfig()


def measured(data: bytes) -> dict[str, Any]:
    return as_measurements(extracted(CONFIG, data, sniff(data)), CONFIG)


def text_of(data: bytes) -> str:
    return str(measured(data)["text"])


JATS = b"""<?xml version="1.0"?><article xml:lang="it"><front><article-meta><article-id pub-id-type="doi">10.1/x</article-id>
<title-group><article-title>Il titolo</article-title></title-group>
<contrib-group><contrib contrib-type="author"><name><surname>Rossi</surname><given-names>Anna</given-names></name></contrib>
<contrib contrib-type="author"><name><surname>Bianchi</surname><given-names>Ugo</given-names></name></contrib></contrib-group>
<aff><label>1</label><institution>Universit\xc3\xa0 di Pisa</institution><country>Italia</country></aff>
<abstract><p>Un riassunto <italic>breve</italic>.</p></abstract></article-meta></front>
<body><sec><label>1</label><title>Introduzione</title><p>Primo paragrafo con CO<sub>2</sub> e 10<sup>6</sup> casi.</p><p>Secondo.</p>
<sec><title>Metodo</title><p>Si usa <inline-formula><tex-math>$x^2$</tex-math></inline-formula> e <inline-formula><mml:math
xmlns:mml="http://www.w3.org/1998/Math/MathML"><mml:mfrac><mml:mi>a</mml:mi><mml:mn>2</mml:mn></mml:mfrac></mml:math></inline-formula>.</p>
<disp-formula><label>(1)</label><tex-math>$$E=mc^2$$</tex-math></disp-formula>
<table-wrap><table><tr><th colspan="2">Voce</th></tr>
<tr><td rowspan="2">a</td><td>1</td></tr><tr><td>2</td></tr></table></table-wrap></sec></sec></body>
<back><ref-list><ref><mixed-citation><name><surname>Verdi</surname><given-names>G</given-names></name>. Opera. 1871.</mixed-citation></ref>
</ref-list></back></article>"""
AKN = b"""<akomaNtoso xmlns="http://docs.oasis-open.org/legaldocml/ns/akn/3.0"><act><meta><x>no</x></meta><coverPage><p>Senato della
Repubblica</p></coverPage><body><chapter><num>Capo I</num><heading>Principi</heading><article>
<num>Art. 1.</num><heading>Oggetto</heading><paragraph><num>1.</num><content>
<p>La Repubblica tutela<authorialNote><p>Cfr. la Costituzione.</p></authorialNote> il paesaggio e il <b>patrimonio</b> della Nazione.</p>
</content></paragraph></article></chapter></body></act></akomaNtoso>"""
INVOICE = b"""<p:FatturaElettronica xmlns:p="http://ivaservizi.agenziaentrate.gov.it/docs/xsd/fatture/v1.2"><FatturaElettronicaBody><DatiGenerali>
<Divisa>EUR</Divisa><Numero>123</Numero></DatiGenerali><DatiBeniServizi><DettaglioLinee><NumeroLinea>1</NumeroLinea><AliquotaIVA>22.00</AliquotaIVA>
</DettaglioLinee><DettaglioLinee><NumeroLinea>2</NumeroLinea><AliquotaIVA>4.00</AliquotaIVA></DettaglioLinee></DatiBeniServizi>
<Allegati><Attachment>UEsDBA==</Attachment></Allegati></FatturaElettronicaBody></p:FatturaElettronica>"""


def test_a_paper_is_title_people_abstract_sections_formulas_tables_and_references() -> None:
    m = measured(JATS)
    assert m["text"].split("\n\n") == [
        "# Il titolo",
        "Anna Rossi, Ugo Bianchi",
        "Università di Pisa, Italia",
        "## Abstract",
        "Un riassunto breve.",
        "## 1 Introduzione",
        "Primo paragrafo con CO₂ e 10⁶ casi.",
        "Secondo.",
        "### Metodo",
        r"Si usa $x^2$ e $\frac{a}{2}$.",
        "$$E=mc^2$$ (1)",
        "| Voce | Voce |\n| --- | --- |\n| a | 1 |\n| a | 2 |",
        "## References",
        "- Verdi G. Opera. 1871.",
    ]
    assert (m["title"], m["lang_hint"], json.loads(m["metadata"])["url"]) == ("Il titolo", "it", "doi:10.1/x")


def test_a_law_keeps_its_numbers_its_cover_and_its_notes() -> None:
    assert text_of(AKN).split("\n\n") == [
        "Senato della Repubblica",
        "# Capo I Principi",
        "## Art. 1. Oggetto",
        "1. La Repubblica tutela[^1] il paesaggio e il patrimonio della Nazione.",
        "[^1]: Cfr. la Costituzione.",
    ]


def test_an_invoice_is_headings_values_and_a_table_of_its_lines() -> None:
    m = measured(INVOICE)
    assert "### Dati Generali\n\nDivisa: EUR\nNumero: 123" in m["text"]
    assert "| Numero Linea | Aliquota IVA |\n| --- | --- |\n| 1 | 22.00 |\n| 2 | 4.00 |" in m["text"]
    assert m["warnings"] == ["attachments_left_out"]


def test_records_of_one_shape_are_a_table() -> None:
    rows = "".join(f"<comune><nome>{name}</nome><cap>{cap}</cap></comune>" for name, cap in (("Pisa", 56121), ("Bari", 70121)))
    assert (
        text_of(f'<?xml version="1.0"?><elenco>{rows}</elenco>'.encode())
        == "## comune\n\n| nome | cap |\n| --- | --- |\n| Pisa | 56121 |\n| Bari | 70121 |"
    )


def test_inline_elements_do_not_break_a_paragraph() -> None:
    bill = b"""<bill xmlns="http://schemas.gpo.gov/xml/uslm"><main><section><num>SEC. 2.</num><heading>DEFINITIONS.</heading>
<content>In subsection (f), by
<amendingAction type="delete">striking</amendingAction> paragraph (6)
and <amendingAction>inserting</amendingAction> the following words here.
</content></section></main></bill>"""
    assert text_of(bill).endswith("DEFINITIONS.\n\nIn subsection (f), by striking paragraph (6) and inserting the following words here.")


def test_an_rfc_has_its_section_titles_references_and_drawings() -> None:
    rfc = b"""<?xml version="1.0"?><rfc><front><title>Un protocollo</title></front><middle><section title="Introduzione"><t>Come dice <xref
target="RFC2119"/>, si deve fare.</t><figure><artwork>
 +--+
 |  |
</artwork></figure></section></middle><back><references><reference anchor="RFC2119"><front><title>Key words</title></front></reference>
</references></back></rfc>"""
    assert text_of(rfc).split("\n\n") == [
        "# Un protocollo",
        "## Introduzione",
        "Come dice [RFC2119], si deve fare.",
        "```\n +--+\n |  |\n```",
        "## References",
        "- [RFC2119] Key words",
    ]


def test_a_patent_has_abstract_and_claims_under_headings() -> None:
    patent = b"""<?xml version="1.0"?><us-patent-grant>
<us-bibliographic-data-grant><invention-title>Lampada</invention-title></us-bibliographic-data-grant>
<abstract><p>Una lampada che non scalda.</p></abstract><description><heading>CAMPO</heading><p>Si parla di lampade.</p></description>
<claims><claim><claim-text>1. Una lampada che comprende un diodo.</claim-text></claim></claims></us-patent-grant>"""
    text = text_of(patent)
    for piece in ("# Lampada", "ABSTRACT\n\nUna lampada", "CAMPO\n\nSi parla", "CLAIMS\n\n1. Una lampada"):
        assert piece in text


def test_a_financial_report_is_its_texts_and_the_figures_are_left_out_with_a_word() -> None:
    block = html.escape("<p><b>NOTE 1</b></p><table><tr><td>Cassa</td><td/><td>10</td></tr></table>")
    report = f"""<?xml version="1.0"?><xbrl xmlns="http://www.xbrl.org/2003/instance" xmlns:d="urn:d">
<d:DocumentType contextRef="c">10-Q</d:DocumentType>
<d:EntityRegistrantName contextRef="c">Alfa S.p.A.</d:EntityRegistrantName><d:Note contextRef="c">{block}</d:Note>
<d:Cash contextRef="c" unitRef="eur">10</d:Cash></xbrl>"""
    m = measured(report.encode())
    assert m["text"] == "# 10-Q Alfa S.p.A.\n\nNOTE 1\n\n| Cassa | 10 |\n| --- | --- |"
    assert m["warnings"] == ["figures_left_out: 1"]


def test_a_feed_is_its_items_with_the_html_inside_read() -> None:
    feed = b"""<?xml version="1.0"?><rss><channel><title>Notizie</title><link>https://example.org</link><item><title>Prima</title>
<description>&lt;p&gt;Un testo &lt;b&gt;lungo&lt;/b&gt; abbastanza.&lt;/p&gt;</description></item></channel></rss>"""
    assert "Un testo lungo abbastanza." in text_of(feed) and "example.org" not in text_of(feed)


def test_xml_bombs_and_external_entities_are_refused_or_left_out(tmp_path: Path) -> None:
    laughs = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 10))
    bomb = f'<?xml version="1.0"?><!DOCTYPE r [<!ENTITY l0 "ah">{laughs}]><r><p>&l9; una frase con parole normali di testo</p></r>'.encode()
    with pytest.raises(Verdict, match="xml_entities"):
        measured(bomb)
    secret = tmp_path / "segreto.txt"
    secret.write_text("PAROLA")
    m = measured(
        f'<?xml version="1.0"?><!DOCTYPE r [<!ENTITY e SYSTEM "file://{secret}">]><r><p>Un testo con &e; dentro e basta.</p></r>'.encode()
    )
    assert "PAROLA" not in m["text"] and "external_entity_left_out" in m["warnings"]
    plain = b'<?xml version="1.0"?><!DOCTYPE rfc [<!ENTITY nbsp "&#160;">]><rfc><t>Dieci&nbsp;parole di un testo qualunque.</t></rfc>'
    assert "Dieci" in text_of(plain)


def test_broken_xml_is_recovered_with_a_warning_and_deep_nesting_ends() -> None:
    m = measured(b'<?xml version="1.0"?><doc><p>Prima frase &nbsp; del documento rotto.<p>Seconda frase del documento.</doc>')
    assert "Seconda frase" in m["text"] and "recovered_xml" in m["warnings"]
    with pytest.raises(Verdict):
        measured(b'<?xml version="1.0"?>' + b"<a>" * 100_000 + b"x" + b"</a>" * 100_000)


@pytest.mark.parametrize("data", [JATS, AKN, INVOICE])
def test_damaged_xml_ends_in_text_or_a_verdict(data: bytes) -> None:
    ends_in_text_or_a_verdict(data, measured)


def test_xml_whose_end_is_missing_is_cut_short_and_other_recovered_xml_is_not() -> None:
    whole = "<?xml version='1.0'?><libro><p>Prima frase del libro intero.</p><p>Seconda frase &niente; del libro.</p></libro>"
    for end in (len(whole) - 3, len(whole) - 10, len(whole) - 30):
        assert {"cut_short", "recovered_xml"} <= set(measured(whole[:end].encode())["warnings"])
    for broken in (whole, whole.replace("</p>", "", 1), whole + "<libro/>"):
        assert measured(broken.encode())["warnings"] == ["recovered_xml"]
