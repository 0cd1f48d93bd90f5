"""Texts that several tests of the filters clean: wrapped prose, verse, two columns fused line by line."""

from __future__ import annotations

WRAPPED = """Il presente decreto disciplina le modalità con le quali le pubbliche ammi-
nistrazioni rendono disponibili i dati di cui sono titolari, nel rispetto
delle norme vigenti in materia di protezione dei dati personali, e stabi-
lisce i termini entro i quali ciascuna di esse provvede."""

VERSE = """Nel mezzo del cammin di nostra vita
mi ritrovai per una selva oscura,
ché la diritta via era smarrita.
Ahi quanto a dir qual era è cosa dura
esta selva selvaggia e aspra e forte
che nel pensier rinova la paura!"""


LEFT = [
    "la corte ritiene che le questioni",
    "sollevate dal giudice rimettente non",
    "siano fondate perché la norma impugnata",
    "lascia al legislatore la scelta",
] * 4
RIGHT = [
    "senza che per questo venga meno",
    "il diritto alla difesa garantito",
    "dalla costituzione e riconosciuto anche",
    "nei trattati a cui la repubblica",
] * 4


def columns(left: list[str], right: list[str]) -> str:
    return "\n".join(f"{a:<44}{b}" for a, b in zip(left, right, strict=True))
