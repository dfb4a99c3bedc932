"""Labels: words that say that the digits behind them are a telephone's, in the languages of twenty scripts."""

import re

# The characters before a number in which its word is looked for.
REACH = 40

# A word may be cut short, and another may begin with it: tel., Telefonnummer; but telldir(3) is a function of C.
_LATIN = (
    "tel|tele(?:f|ph)[a-zà-ỹ]*|tél|télé[a-zà-ỹ]*|phone[a-z]*|fax[a-z]*|facsimile|mobil[a-z]*|móvil|movil|cell|cellphone"
    "|celular|cellulare|portable|handy|gsm|komórka|hotline|helpline|whatsapp|ph|tlf|tfn|puh|puhelin|matkapuhelin|simu"
    "|rufnummer|notruf|điện thoại|đt|di động|toll[- ]free|voice|call|dial"
)
_BORDERED = "тел|моб|факс|тэл|τηλ|κιν|φαξ|հեռ|բջջ|ֆաքս|ტელ|მობ|ფაქს|ስልክ|ፋክስ"
# Of scripts that join words, add prefixes or carry vowel signs, looked for as they stand.
_PIECES = (
    "טלפון|טל'|טל:|נייד|פקס|هاتف|جوال|موبايل|موبایل|فاكس|فکس|تلفون|تليفون|تلفن|ٹیلی فون|فون"
    "|फोन|फ़ोन|फ़ोन|दूरभाष|मोबाइल|मोबाईल|टेलीफोन|फैक्स|ফোন|মোবাইল|ফ্যাক্স|ફોન|મોબાઇલ|ਫੋਨ|ਫ਼ੋਨ|ਮੋਬਾਈਲ|ଫୋନ"
    "|தொலைபேசி|போன்|கைபேசி|அலைபேசி|ఫోన్|ఫోను|మొబైల్|ಫೋನ್|ದೂರವಾಣಿ|ഫോൺ|മൊബൈൽ|දුරකථන"
    "|โทร|มือถือ|แฟกซ์|ໂທ|ទូរស័ព្ទ|ဖုန်း|电话|電話|手机|手機|行动|行動|传真|傳真|热线|熱線|座机|携帯|ファックス|ファクス"
    "|전화|휴대폰|휴대전화|핸드폰|팩스|연락처"
)
# Between a word and its number: "Phone number is", "Tel. (office):", "Tel./Fax:".
_BRIDGE = (
    r"(?:[ .]{0,2}(?:\([^()\d\n]{1,16}\)|[-/&]|(?:us|at|on|or|no|nr|n[°ºr]|num|numbers?|nummer|número|numéro|numero"
    r"|is|toll[- ]free|office|work|home|main|direct|line|mobile|fax|tel|phone)\b\.?)){0,4}"
)
_LABEL = re.compile(
    rf"(?:\b(?:{_LATIN})\b{_BRIDGE}|(?:\b(?:{_BORDERED})\w*|(?:{_PIECES}))[^\d\n<>]{{0,12}}?)[ .:：=\t]{{0,3}}\Z",
    re.IGNORECASE,
)
# These are verbs and nouns of other things too: "call 1000000 times".
_WEAK = re.compile(r"\b(?:call|cell|dial|voice|portable|handy)\b[^\n]*\Z", re.IGNORECASE)

# Wider, and fast: Latin words by how they begin, letters outside ASCII only as they stand.
CANDIDATE = (
    r"(?:(?-u:\b)(?i-u:tel|phone|fax|facs|mobil|movil|cell?u|cell|portable|handy|gsm|kom|hotline|helpline|whatsapp|ph|tlf"
    r"|tfn|puh|matkap|simu|rufn|notruf|toll|voice|call|dial)|[Tt]él|[Mm]óvil|[Đđ]iện thoại|[Đđ]t|[Dd]i động"
    rf"|{_BORDERED}|{_PIECES})[^0-9\n]*(?:[0-9][ .\-/()]{{0,3}}){{6}}[0-9]"
)


def names_number(before: str, run: str, digits: str) -> bool:
    """Tell whether the text right before a run of digits says that they are a telephone's; digits: of the run."""
    if len(digits) > 15 or not _LABEL.search(before):
        return False
    return not _WEAK.search(before) or run != digits
