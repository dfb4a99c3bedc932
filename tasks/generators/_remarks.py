"""Remarks: what models say to their user before a text and after it: announcements, offers, counts of words, notes.

Known by their words in English, German, French, Spanish, Portuguese, Italian, Dutch, Polish, Russian, Chinese, Japanese
and Korean. Only whole lines at the two ends are taken, or a sentence at the end of the last.
"""

import re

# A first or last line that is longer is text.
LINE = 300

_FORM = (
    r"(?:articles?|summar(?:y|ies)|lists?|tables?|versions?|texts?|dialogues?|conversations?|tutorials?|faqs?|"
    r"questions?|answers?|pages?|rewrit\w+|rewrite|entry|draft|response|output|overview|document|explanation|pairs?|"
    r"artikel|zusammenfassung|liste|tabelle|fassung|texte?|gespräch|antwort\w*|fragen|seite|résumé|tableau|dialogue|"
    r"réponses?|página|artículo|resumen|lista|tabla|versión|texto|diálogo|respuestas?|artigo|resumo|tabela|"
    r"статья|статью|текст|список|таблица|диалог|ответ\w*|文章|文本|内容|列表|表格|对话|回答|摘要|版本|教程|問題|"
    r"问题|記事|글|기사|"
    r"rewriting|thoughts?|attempts?)"
)
_ACKNOWLEDGED = (
    r"(?:sure(?: thing)?|certainly|of course|absolutely|okay|ok|great|alright|understood|no problem|got it|"
    r"(?:i['’]d be |i['’]m |i would be )?(?:happy|glad) to help|gladly|natürlich|gerne?|klar|selbstverständlich|"
    r"sicher|bien sûr|certainement|avec plaisir|d['’]accord|claro(?: que sí)?|por supuesto|con gusto|certo|"
    r"certamente|com certeza|as (?:you )?requested|as per your request|"
    r"natuurlijk|vanzelfsprekend|oczywiście|jasne|звичайно|elbette|tabii(?: ki)?|självklart|selvfølgelig|"
    r"jistě|samozřejmě|tentu(?: saja)?|chắc chắn(?: rồi)?|desigur|természetesen|totta kai|great question|"
    r"بالتأكيد|بالطبع|ज़रूर|बिल्कुल|네|예|"
    r"конечно|разумеется|хорошо|当然(?:可以)?|好的|没问题|はい|もちろん(?:です)?|承知(?:しました)?|물론입니다)"
)
_HERE = (
    r"(?:here(?:['’]s| is| are| you go| it is| you have)|below (?:is|are|you)|the following (?:is|are)|"
    r"this is (?:the|a|an|my|your)|i['’]ve (?:written|rewritten|prepared|created)|"
    r"i have (?:written|rewritten|prepared)|below (?:you(?:['’]ll| will|['’]d)? find)|"
    r"hier (?:ist|sind|kommt|finden)|nachfolgend|im folgenden|voici|ci-dessous|aquí (?:tienes?|está|va|le|te)|"
    r"a continuación|ecco|aqui (?:está|vai)|a seguir|вот|ниже|以下(?:是|为|が)|这是|下面是|以下は|こちら(?:は|"
    r"が)|다음은|아래는|إليك|فيما يلي|यहाँ|यहां|नीचे|"
    r"(?:hier (?:is|volgt|der|die|das)|oto|ось|işte|aşağıda|här (?:är|kommer|följer)|her (?:er|kommer|følger)|"
    r"tässä (?:on|tulee)|zde je|tady je|iată|íme|berikut|dưới đây là|sau đây là|segue)(?!\w))"
)
# Of these, what presents a text even without a colon; "This is the list of ..." may be its first sentence.
_PRESENTS = (
    r"(?:here(?:['’]s| is| are)|below (?:is|are)|hier (?:ist|sind)|voici|aquí (?:tienes|está)|вот|以下是|下面是)"
)
_FIRST_LINE = re.compile(
    rf"(?is)^\W*(?:{_ACKNOWLEDGED}(?![a-z])[\s,.!，！。、—–-]*)?(?:{_HERE})[^\n]*[:：]\W*$"
    rf"|^\W*{_ACKNOWLEDGED}(?![a-z])[\s,.!，！。、—–-]*(?:(?:so|then|well)[\s,]+)?(?:{_HERE})[^\n:：]{{0,120}}$"
    rf"|^\W*[^\n.:：]{{0,80}}[,，、]\s*(?:so |then )?(?:{_HERE})[^\n]*{_FORM}[^\n]*[:：]\W*$"
    rf"|^\W*(?:the |my |your )?(?:rewritten|revised|rephrased|final|corrected|improved|updated|edited)\s+"
    rf"(?:encyclop\w+\s+)?{_FORM}\W*$"
    r"|^(?:\s*[*_=—–-]){3,}\s*$"
    rf"|^\W*{_ACKNOWLEDGED}[\s!！.。:：,，]*$"
    rf"|^\W*{_ACKNOWLEDGED}[\s!！.。:：,，]+(?:i['’]|i will|i can|happy|glad|let me)[^\n]{{0,80}}$"
    rf"|^\W*{_PRESENTS}[^\n:：]{{0,80}}{_FORM}[^\n:：]{{0,60}}[.。!]?\W*$"
    r"|^[^\n]{0,40}以下の(?:通り|とおり)です[:：。]\W*$|^以下(?:は|が)[^\n]{0,40}(?:記事|文章|テキスト)です[:：。]\W*$"
    rf"|^\W*(?:based on|according to) the (?:provided|given|above) [^\n]*[:：]\W*$"
)
_LABEL = re.compile(
    r"(?i)^\W*(?:final answer|(?:here is |the |my |final |rewritten |revised |corrected |"
    r"encyclopedia )*(?:article|text|output|"
    r"response|draft|version|document|result|rewrite|conversation|summary|assistant))\W*[:：]\W*$"
)
# An announcement in the line of the text itself.
_INLINE = re.compile(
    rf"(?i)^\W*(?:{_ACKNOWLEDGED}(?![a-z])"
    rf"[\s,.!，！。、—–-]*)?{_HERE}[^.\n:：。]{{0,80}}{_FORM}[^.\n:：。]{{0,60}}[:：]\s+(?=\S)"
    rf"|^\W*{_ACKNOWLEDGED}\s*[!！]\s*(?=\S)"
)
_OFFERS = (
    r"(?:please )?let me know(?: (?:if|whether|what|how|which|when)\b|\W*$)|(?:i )?hope (?:this|that|it|the|you)\b"
    r"[^\n]{0,40}\b(?:help|useful|meets?|need|expect|enjoy|what you)\w*|(?:please )?feel free to\b|"
    r"do you want (?:a|an|any|more|another)\b|"
    r"would you like (?:me|any|a|an|another|to|more|further)\b|(?:do you )?want me to\b|is there anything else\b|"
    r"(?:should|shall) i (?:add|make|include|change|also|continue|shorten|expand|write|go)\b|"
    r"do you need (?:anything|any|more|me)\b|(?:i['’]m |i am )?happy to (?:help|revise|adjust|make|expand|provide)\b|"
    r"please note that (?:this|the|i)\b|(?:\W*)disclaimer\W*[:：]|i can also\b[^\n]{0,80}\bif you\b|"
    r"(?:this|the|my|above) (?:rewritten |revised |new |final )*(?:article|text|summary|list|table|rewrite|"
    r"version|draft|"
    r"conversation|tutorial|document) (?:keeps|maintains|preserves|retains|captures|sticks|stays|adheres|"
    r"follows|covers|uses "
    r"only|contains only|has been|was (?:generated|created))\b[^\n]*\b(?:original|source|document|provided|"
    r"facts?|request\w*|"
    r"prompt|instructions?|ai|model)\b|"
    r"if you(?:['’]d like| (?:need|want|have|would like))\b[^\n]{0,120}\b"
    r"(?:let me know|feel free|ask|i can|i['’]d be)\b|"
    r"(?:this|the) (?:article|text|summary|list|table|rewrite|version|conversation|tutorial) (?:is|was) "
    r"(?:based|written|derived) (?:on|from|solely|only|entirely)\b|"
    r"ich hoffe\b[^\n]{0,40}\b(?:hilft|hilfreich|gefällt|entspricht)\b|"
    r"lass(?:en sie)?(?: es)? mich (?:gerne )?wissen\b|möchte(?:n sie|st du)\b[^\n]{0,80}\?|"
    r"sag(?:en sie)? mir (?:gerne |bitte )?bescheid\b|(?:wenn|falls|bei|sollten) [^\n]{0,60}\bfragen\b[^\n]{0,60}\b"
    r"(?:verfügung|melden|wissen|fragen)\b|laat (?:het )?(?:me|mij) weten\b|daj(?:cie)? (?:mi )?znać\b|"
    r"mam nadzieję, że\b|"
    r"si vous (?:avez|souhaitez|voulez)[^\n]{0,80}(?:demander|dire|savoir|contacter|hésitez)\b|"
    r"(?:¿)?(?:quieres|deseas|desea|quiere) que\b|espero que (?:isso|ajude|seja|sea|le|les)\b|(?:gostaria|quer)"
    r" que eu\b|"
    r"vuoi che\b|se hai (?:bisogno|domande)\b|"
    r"n['’]hésitez pas\b|j['’]espère que\b|souhaitez-vous\b|voulez-vous que\b|espero que (?:esto|te|le|isto)\b|"
    r"(?:¿)?(?:te|le) gustaría que\b|av[íi]same si\b|no dudes en\b|háganmelo saber\b|spero che\b|fammi sapere\b|"
    r"надеюсь, (?:это|что)\b|дайте (?:мне )?знать\b|хотите, (?:чтобы )?я\b|"
    r"если (?:у вас|вам)[^\n]{0,60}(?:вопрос|нужн)|"
    r"希望(?:这|以上|对您|对你|本文)|如果(?:您|你)(?:需要|想|有)[^\n]{0,60}(?:告诉|随时|请)|请(?:随时)?告诉我|需要我|"
    r"soll ich (?:den|die|das|noch|ihn|sie|es|etwas)\b[^\n]{0,80}\?|"
    r"si (?:necesitas?|quieres?|deseas?)\b[^\n]{0,80}\b(?:av[íi]s[ae]me|dime|dímelo|d[íi]game|preg[uú]nt)|"
    r"se (?:precisar|quiser|desejar)\b[^\n]{0,80}\b(?:avis|dig[ao]|pergunt|dispo)|"
    r"ik hoop dat (?:dit|het|deze)\b|(?:wil je|wilt u) dat ik\b|zal ik\b[^\n]{0,60}\?|"
    r"czy chce(?:sz|cie)\b|chcesz, (?:abym|żebym)\b|"
    r"hoppas (?:det|att|den)\b|vill du att jag\b|låt mig veta\b|lad mig vide\b|"
    r"umarım\b|bana bildir|başka bir (?:isteğ|soru)|"
    r"أتمنى أن|آمل أن|هل تريد|هل ترغب|أخبرني|आशा है|क्या आप चाह|मुझे बता|"
    r"i['’]m sorry\b[^\n]{0,20}\bi (?:can['’]?t|cannot|am unable)|"
    r"i (?:can['’]?t|cannot|am unable to) (?:continue|assist|help)\b|"
    r"es tut mir leid\b[^\n]{0,20}\bich kann\b|je suis désolée?\b[^\n]{0,20}\bje ne p|"
    r"lo siento\b[^\n]{0,20}\bno puedo\b|"
    r"desculpe\b[^\n]{0,20}\bnão posso\b|mi dispiace\b[^\n]{0,20}\bnon posso\b|извините\b[^\n]{0,20}\bне могу\b|"
    r"(?:抱歉|对不起)[，,]?我(?:无法|不能)|申し訳(?:ありません|ございません)が|죄송하지만|"
    r"お役に立て|ご不明な点|도움이 되|[^\n]{0,40}(?:말씀해|알려) ?주세요"
)
_COUNTED = (
    r"(?:[(（\[*_])*\s*"
    r"(?:(?:approx(?:imate(?:ly)?|\.)? |about |total )?(?:(?:word|token|character)s?[ _-]?count|total words|words)"
    r"[\s:：=*_~≈]*[\d,.]+[^\n]{0,30}|(?:approximately |about |total[: ]+|~ ?)?[\d,.]+ words(?: total)?|"
    r"(?:wort(?:an)?zahl|wörter|nombre de mots|mots|palabras|n[úu]mero de palabras|количество слов|слов|字数(?:统计)?|"
    r"字數|文字数)\s*[:：]\s*(?:约)?[\d,.]+[^\n]{0,12}|[共约約]+\s*[\d,.]+\s*(?:字|词|詞|文字|語))\s*[)）\]*_.]*"
)
_NOTE = r"[(\[*_]*\s*note\s*[:：][^\n]*\b(?:article|text|document|source|prompt|request|word|i )[^\n]*"
_SOURCE = r"^\W*source\s*:\s*(?:the )?(?:provided|given|original) \w+\W*$"
_LAST_LINE = re.compile(
    rf"(?i)^\W*(?:{_OFFERS})|{_SOURCE}|^{_COUNTED}$|"
    rf"^{_NOTE}$|^[\s*_=—–-]+$|^\W*(?:the end|end of \w+)\W*$|^\W*\[/?(?:end|"
    rf"eof|stop|done)\b[^\]\n]*\]\W*$"
)
_CHANGES = re.compile(
    r"(?i)\n\W*(?:key |main |summary of |list of )?(?:changes|edits|improvements)(?: made)?\W*[:：]\W*\n"
    r"(?:[ \t]*(?:[-*•+]|\d+[.)])[ \t].*(?:\n|\Z)|[ \t]*\n)+\Z"
)
_TAIL = re.compile(rf"(?i)(?<=[.!?。！？])[ \t]*(?:(?:{_OFFERS})[^\n]*|[(（\[*]{_COUNTED})$")


def without_announcement(text: str) -> str:
    line, _, rest = text.partition("\n")
    if rest.strip() and len(line) <= LINE and (_FIRST_LINE.search(line) or _LABEL.search(line)):
        return rest
    return _INLINE.sub("", text, count=1) if rest or len(line) > LINE // 3 else text


def without_closing(text: str) -> str:
    text = _CHANGES.sub("", text)
    while True:
        body, _, line = text.rpartition("\n")
        if body.strip() and len(line) <= LINE and _LAST_LINE.search(line.strip()):
            text = body.rstrip()
            continue
        start = text.rfind("\n") + 1
        bare = text[:start] + _TAIL.sub("", text[start:])
        if bare == text:
            return text
        text = bare.rstrip()
