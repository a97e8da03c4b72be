"""The languages of Whisper: their codes, and the names that people give them."""

from __future__ import annotations

from collections.abc import Iterable

# Codes with names, the usual one first: OpenAI's table, its aliases, and other codes of the same languages.
_TABLE = """
en English; zh Chinese, Mandarin; de German; es Spanish, Castilian; ru Russian; ko Korean; fr French; ja Japanese;
pt Portuguese; tr Turkish; pl Polish; ca Catalan, Valencian; nl Dutch, Flemish; ar Arabic; sv Swedish; it Italian;
id Indonesian; hi Hindi; fi Finnish; vi Vietnamese; he Hebrew, iw; uk Ukrainian; el Greek; ms Malay; cs Czech;
ro Romanian, Moldavian, Moldovan; da Danish; hu Hungarian; ta Tamil; no Norwegian, nb; th Thai; ur Urdu; hr Croatian;
bg Bulgarian; lt Lithuanian; la Latin; mi Maori; ml Malayalam; cy Welsh; sk Slovak; te Telugu; fa Persian, Farsi;
lv Latvian; bn Bengali; sr Serbian; az Azerbaijani; sl Slovenian; kn Kannada; et Estonian; mk Macedonian; br Breton;
eu Basque; is Icelandic; hy Armenian; ne Nepali; mn Mongolian; bs Bosnian; kk Kazakh; sq Albanian; sw Swahili;
gl Galician; mr Marathi; pa Punjabi, Panjabi; si Sinhala, Sinhalese; km Khmer; sn Shona; yo Yoruba; so Somali;
af Afrikaans; oc Occitan; ka Georgian; be Belarusian; tg Tajik; sd Sindhi; gu Gujarati; am Amharic; yi Yiddish; lo Lao;
uz Uzbek; fo Faroese; ht Haitian Creole, Haitian; ps Pashto, Pushto; tk Turkmen; nn Nynorsk; mt Maltese; sa Sanskrit;
lb Luxembourgish, Letzeburgesch; my Myanmar, Burmese; bo Tibetan; tl Tagalog, Filipino, fil; mg Malagasy; as Assamese;
tt Tatar; haw Hawaiian; ln Lingala; ha Hausa; ba Bashkir; jw Javanese, jv; su Sundanese; yue Cantonese
"""

_ENTRIES = (" ".join(entry.split()).partition(" ") for entry in _TABLE.split(";"))
_NAMES: dict[str, list[str]] = {code: [*names.split(", ")] for code, _, names in _ENTRIES}


def names(codes: Iterable[str]) -> dict[str, list[str]]:
    """Return the names of each of these languages, the usual one first. A code that is in no table is its own name."""
    return {code: _NAMES.get(code, [code]) for code in codes}
