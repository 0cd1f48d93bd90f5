"""The language of a text: lingua's word on a few samples, believed when the language's function words agree.

lingua picks the best of the languages it knows, whatever the text: Corsican becomes Latin, a list of names anything.
So its answer stands only when the text is long enough, lingua is sure, and, for the languages with a list here, enough
of the words are function words of that language. Otherwise the code is 'und'. Texts in another script than Latin go to
lingua's full set, which the script narrows.

Limits: a text in two languages gets the one that its samples hold most of; dialects come out as 'und' or as a neighbour.
"""

from __future__ import annotations

import re
from typing import Any

UNKNOWN = "und"
RECOGNISED = ("it", "en", "fr", "de", "es", "pt", "la", "nl", "ro", "ca", "pl", "cs", "hr", "sq", "sl", "da", "sv", "fi", "hu", "tr")
WORD = re.compile(r"[^\W\d_]+")
_NOT_LATIN = re.compile(r"[\u0370-\u1cff\u2e80-\ud7ff\uf900-\ufaff\ufb1d-\ufdff\ufe70-\ufeff]")

# The function words that make up most of running text; an apostrophe ends a word ("dell'arte": dell, arte).
_LISTS = {
    "it": """di e il la che a in un è per del non i l le da si con una della dei sono al come o nel ma più alla lo se gli anche su
        delle ha dell ad questo d dal ed cui quando suo essere alle c tra ai molto sua era loro chi quello dalla fra tutti
        stato ne poi fu così solo tutto quale sulla perché nella nei sul degli ogni stata quali dopo senza hanno anni mi
        ci ho questa dove nelle allo prima ancora qui ecco loro essi nell sull all dall agli dalle dello nello quel quella
        quelli ove può deve art comma un uno io lui lei noi voi ti vi mio mia mai già però sia né dagli sui sulle presso
        entro ovvero nonché secondo quanto tale tali stesso stessa altri altro altra ciò cosa cose fatto era erano""",
    "en": """the of and to in a is that for it as was with be by on not he i this are or his from at which but have an had they you
        were their one all we can her has there been if more when will would who so no she my me do him them some could
        than other into its then what about up out may such shall any our these only also two must new s t under your over
        how after upon very us those where did now should said before between through most each both while being same
        until during because against""",
    "fr": """de la le et les des en un du une que est pour qui dans a par plus pas au sur ne se ce il sont avec ou l d son qu n cette
        aux à je elle mais nous on s été sa être comme ses leur ont lui vous c y même tout fait sans si bien deux ces
        toute tous droit""",
    "de": """der die und in den von zu das mit sich des auf für ist im dem nicht ein eine als auch es an werden aus er hat dass sie
        nach wird bei einer um am sind noch wie einem über einen so zum war haben nur oder aber vor zur bis mehr durch man
        sein wurde seine ich wir ihr recht""",
    "es": """de la que el en y a los se del las un por con no una su para es al lo como más o pero sus le ha me si sin sobre este ya
        entre cuando todo esta ser son dos también fue había era muy hasta desde está mi porque qué sólo toda tiene
        derecho personas""",
    "pt": """de a o que e do da em um para é com não uma os no se na por mais as dos como mas foi ao ele das tem à seu sua ou ser
        quando muito há nos já está eu também só pelo pela até isso ela entre era depois sem mesmo aos ter seus direito
        são toda""",
    "la": """et in est non ad ut cum quod si qui de sed ex quae per a esse nec ab sunt aut quam etiam se hoc enim eius ac atque autem
        nam quid te me mihi haec quo ne tibi ita quidem ille fuit erat omnia neque ipse tamen quoque vel pro sub sine
        inter""",
    "nl": """de van het een en in is dat op te zijn met voor niet die aan er om ook als dan maar bij of uit nog naar heeft ze door over
        ik je hij wordt tot werd deze was hebben kan zich recht""",
    "ro": """și de în a la cu o un pe nu că care din se este mai sau să pentru ce ca au fi al cel prin fost lui sunt ale până după când
        dacă ei orice are dreptul""",
    "ca": """de la i el que en a els les un per del una és amb no es al o com més pel dels ha però seu són va ser aquest aquesta hi
        tota persona té dret""",
    "pl": """i w na z do się nie to że jest o jak ale po co tak za od przez dla przy ma są jego jej ich który która które oraz lub być
        może był była było tego tym jako już też tylko każdy prawo""",
    "cs": """a v se na je že s z do o i to k ve pro za by ale si po jako za od které který která jeho jsou být bylo byl byla aby nebo
        také jen má tak při podle každý právo""",
    "hr": """i u je da se na za su od s a o kao što koji koja koje ne iz do po ili te ali bio bila bilo će to ga sa nije biti svoje
        njegov kako sve svatko ima pravo""",
    "sq": """të e në dhe i për me një që nga është si se nuk u do ka më ose kjo ky janë por tij saj kanë ishte gjithë çdo drejtë""",
    "sl": """in v je da na se za so z s o kot ki pa po iz ne od do ali tudi bi k pri ter bil bila bilo to biti svoje njegov vse ima
        vsakdo pravico""",
    "da": """og i at en til er det af på de for med ikke den der som har et han sig fra var ved om men eller være blev hun efter kan
        også skal hans enhver ret""",
    "sv": """och i att en som är det av på för med den till de inte har ett om var han sig från eller men så vid kan vara efter hon ska
        också alla rätt""",
    "fi": """ja on ei se että oli joka mutta tai kun hän ovat niin myös kuin hänen sen ole jos jonka sekä olla mukaan ne tämä nyt vain
        jokaisella oikeus""",
    "hu": """a az és hogy nem is egy van ez de meg volt azt csak már mint vagy el még ki ha minden kell be s aki ami után szerint lehet
        joga""",
    "tr": """ve bir bu da de için ile olarak olan daha çok gibi kadar o ne ya en sonra her ise var olduğu ki hiç değil bütün herkes
        hakkı""",
}
_SHORT = frozenset(["pl", "cs", "hr", "sq", "sl", "da", "sv", "fi", "hu", "tr"])  # with few function words listed: half the share is enough
FUNCTION_WORDS: dict[str, frozenset[str]] = {code: frozenset(words.split()) for code, words in _LISTS.items()}


def share_of_function_words(words: list[str], code: str) -> float:
    """Share of these (lower case) words that are function words of the language; 0 for a language without a list."""
    known = FUNCTION_WORDS.get(code)
    return sum(map(known.__contains__, words)) / len(words) if known and words else 0.0


class Identifier:
    """Tells the language of texts. Made once per worker: lingua's models are loaded when first needed.

    `recognised` are ISO 639-1 codes; `min_letters` the shortest text that is judged; `min_confidence` lingua's
    probability below which the answer is 'und'; `min_function_words` the share of function words an answer needs.
    Raises ValueError for a code lingua does not know.
    """

    def __init__(
        self,
        recognised: tuple[str, ...] = RECOGNISED,
        min_letters: int = 40,
        min_confidence: float = 0.8,
        min_function_words: float = 0.12,
        sample: int = 600,
    ) -> None:
        from lingua import IsoCode639_1, Language, LanguageDetectorBuilder

        known = {code.name.lower(): code for code in (language.iso_code_639_1 for language in Language.all())}
        unknown = sorted(set(recognised) - set(known))
        if unknown:
            raise ValueError(f"lingua does not know the language '{unknown[0]}'")
        languages = [Language.from_iso_code_639_1(getattr(IsoCode639_1, code.upper())) for code in recognised]
        self._detector: Any = LanguageDetectorBuilder.from_languages(*languages).with_low_accuracy_mode().build()
        self._everything: Any = LanguageDetectorBuilder.from_all_languages().with_low_accuracy_mode().build()
        self.min_letters, self.min_confidence, self.min_function_words = min_letters, min_confidence, min_function_words
        self.sample = sample

    def __call__(self, text: str) -> tuple[str, float]:
        """(ISO 639-1 code or 'und', lingua's confidence). Unconfirmed, lingua is asked once more on a larger sample."""
        words: list[str] = []
        confidence = 0.0
        for size in (self.sample, 4 * self.sample):
            sample = sampled(text, size)
            letters = sum(map(len, WORD.findall(sample)))
            if letters < self.min_letters:
                break
            foreign = 2 * len(_NOT_LATIN.findall(sample)) > letters
            ranking = (self._everything if foreign else self._detector).compute_language_confidence_values(sample)
            if not ranking:
                break
            code, confidence = str(ranking[0].language.iso_code_639_1.name.lower()), float(ranking[0].value)
            words = words or WORD.findall(text[:20_000].lower())
            if confidence >= self.min_confidence and (foreign or self._confirmed(code, words)):
                return code, confidence
        return UNKNOWN, confidence

    def likeliest(self, text: str) -> tuple[str, float]:
        """For a text that must have a language however short it is: the call's answer, else the one whose function words it
        has; of several the one lingua finds likeliest."""
        code, confidence = self(text)
        words = WORD.findall(text.lower())
        if code != UNKNOWN or not words:
            return code, confidence
        shares = {known: share_of_function_words(words, known) for known in FUNCTION_WORDS}
        best = max(shares.values())
        ranking = [str(v.language.iso_code_639_1.name.lower()) for v in self._detector.compute_language_confidence_values(text)]
        return next((c for c in ranking if shares.get(c) == best), UNKNOWN) if best > 0 else UNKNOWN, confidence

    def _confirmed(self, code: str, words: list[str]) -> bool:
        """Do the function words agree, or, for a language without a list, at least not speak for another one?"""
        if code in FUNCTION_WORDS:
            return share_of_function_words(words, code) >= self.min_function_words * (0.5 if code in _SHORT else 1.0)
        return max(share_of_function_words(words, other) for other in FUNCTION_WORDS) < 2 * self.min_function_words


def sampled(text: str, size: int) -> str:
    """About `size` characters from three places of the text, fewer from a short one: a sample costs as much as it is long."""
    size = min(size, max(size // 3, len(text) // 8))
    if len(text) <= size:
        return text
    window = size // 3
    return " ".join(text[int(len(text) * place) :][:window] for place in (0.15, 0.45, 0.75))
