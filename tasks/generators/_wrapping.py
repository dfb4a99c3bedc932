"""Taking off what models put around a text: fences, JSON and XML, chat tokens, announcements, closing remarks.

The text below is what was asked and paid for, so it is kept, and what was around it is told by name: NAMES. A template
that asks for a wrapper itself (it says JSON, XML or "code") keeps it.
"""

import json
import re
from collections.abc import Callable, Collection, Iterator
from itertools import chain
from typing import Any

NAMES = ("tokens", "fence", "json", "xml", "marker", "announcement", "closing")
# Layers of one answer; deeper ones are not made by models that wrap.
_LAYERS = 6
# A first or last line that is longer is text.
_LINE = 300

_ENDS = (
    r"<\|(?:im_end|eot_id|eom_id|endoftext|end_of_text|end|return|endofprompt|END_OF_TURN_TOKEN)\|>|</s>|<eos>|"
    r"<end_of_turn>|<｜end▁of▁sentence｜>|\[INST\]|<\|user\|>|<\|start_of_role\|>"
)
_END = re.compile(_ENDS)
_HEAD_TOKEN = re.compile(
    r"(?:\s*(?:<\|(?:begin_of_text|im_start|start_header_id|start|assistant|startoftext|START_OF_TURN_TOKEN|"
    r"CHATBOT_TOKEN)\|>|<s>|<bos>|<start_of_turn>|<｜begin▁of▁sentence｜>|<｜Assistant｜>|\[/?INST\])"
    r"(?:\s*(?:assistant|model)\b)?(?:\s*<\|end_header_id\|>)?|\s*<\|channel\|>[^<\n]*<\|message\|>)+"
    r"|\s*(?:assistant|model)[ \t]*\n"
)
_ANY_TOKEN = re.compile(r"<[|｜][A-Za-z0-9_▁]{1,40}[|｜]>|<(?:unk|pad|bos|eos|s)>|</s>|<<SYS>>|<</SYS>>|\[/?INST\]")
_FENCE_LINE = re.compile(r"(?m)^[ \t>]*(?:`{3,}|~{3,})[ \t]*[^\n`~]{0,30}$\n?")
_FENCE = re.compile(r"(?:`{3,}|~{3,})(?:(?:markdown|md|json|xml|html|te?xt|plaintext|yaml|plain)\b)?[ \t]*")
_XML = re.compile(r"(?s)<([A-Za-z][\w.:-]*)(?:\s[^<>]*)?>(.*)</\1\s*>")
_XML_OPEN = re.compile(
    r"<(article|answer|text|document|output|response|result|content|draft|summary|final|rewrite|rewritten"
    r"(?:_\w+)?|final_\w+|conversation|dialogue|tutorial|table|list|faq|page)>\s*",
    re.IGNORECASE,
)
# The lines that divide our own templates.
_MARKER = re.compile(r"(?m)^=====[^=\n]*=====[ \t]*$\n?")
_MAIN_KEYS = (
    *("article", "text", "content", "answer", "output", "response", "result", "draft", "body", "document", "summary"),
    *("rewritten", "final", "conversation", "dialogue", "tutorial", "table", "list", "lists", "faq", "page"),
    *("questions", "pairs", "message", "completion"),
)
_TITLES = ("title", "heading", "name")

_FORM = (
    r"(?:articles?|summar(?:y|ies)|lists?|tables?|versions?|texts?|dialogues?|conversations?|tutorials?|faqs?|"
    r"questions?|answers?|pages?|rewrit\w+|rewrite|entry|draft|response|output|overview|document|explanation|pairs?|"
    r"artikel|zusammenfassung|liste|tabelle|fassung|texte?|gespräch|antwort\w*|fragen|seite|résumé|tableau|dialogue|"
    r"réponses?|página|artículo|resumen|lista|tabla|versión|texto|diálogo|respuestas?|artigo|resumo|tabela|"
    r"статья|статью|текст|список|таблица|диалог|ответ\w*|文章|文本|列表|表格|对话|回答|摘要|版本|教程|問題|问题)"
)
_ACKNOWLEDGED = (
    r"(?:sure(?: thing)?|certainly|of course|absolutely|okay|ok|great|alright|understood|no problem|got it|"
    r"(?:i['’]d be |i['’]m |i would be )?(?:happy|glad) to help|gladly|natürlich|gerne?|klar|selbstverständlich|"
    r"sicher|bien sûr|certainement|avec plaisir|d['’]accord|claro(?: que sí)?|por supuesto|con gusto|certo|"
    r"certamente|com certeza|"
    r"конечно|разумеется|хорошо|当然(?:可以)?|好的|没问题|もちろん(?:です)?|承知(?:しました)?|물론입니다)"
)
_HERE = (
    r"(?:here(?:['’]s| is| are| you go| it is| you have)|below (?:is|are|you)|the following (?:is|are)|"
    r"this is (?:the|a|an|my|your)|i['’]ve (?:written|rewritten|prepared|created)|"
    r"i have (?:written|rewritten|prepared)|"
    r"hier (?:ist|sind|kommt|finden)|nachfolgend|im folgenden|voici|ci-dessous|aquí (?:tienes?|está|va|le|te)|"
    r"a continuación|ecco|aqui (?:está|vai)|a seguir|вот|ниже|以下(?:是|为)|这是|下面是|以下は|こちら(?:は|が)|다음은)"
)
# Of these, what presents a text even without a colon; "This is the list of ..." may be its first sentence.
_PRESENTS = (
    r"(?:here(?:['’]s| is| are)|below (?:is|are)|hier (?:ist|sind)|voici|aquí (?:tienes|está)|вот|以下是|下面是)"
)
_FIRST_LINE = re.compile(
    rf"(?is)^\W*(?:{_ACKNOWLEDGED}(?![a-z])[\s,.!，！。、—–-]*)?(?:{_HERE})[^\n]*[:：]\W*$"
    rf"|^\W*{_ACKNOWLEDGED}(?![a-z])[\s,.!，！。、—–-]*(?:{_HERE})[^\n:：]{{0,120}}$"
    rf"|^\W*{_ACKNOWLEDGED}[\s!！.。:：,，]*$"
    rf"|^\W*{_ACKNOWLEDGED}[\s!！.。:：,，]+(?:i['’]|i will|i can|happy|glad|let me)[^\n]{{0,80}}$"
    rf"|^\W*{_PRESENTS}[^\n:：]{{0,80}}{_FORM}[^\n:：]{{0,60}}[.。!]?\W*$"
    rf"|^\W*(?:based on|according to) the (?:provided|given|above) [^\n]*[:：]\W*$"
)
_LABEL = re.compile(
    r"(?i)^\W*(?:(?:here is |the |my |final |rewritten |revised |corrected |encyclopedia )*(?:article|text|output|"
    r"response|draft|version|document|result|rewrite|conversation|summary|assistant))\W*[:：]\W*$"
)
# An announcement in the line of the text itself.
_INLINE = re.compile(
    rf"(?i)^\W*(?:{_ACKNOWLEDGED}(?![a-z])[\s,.!，！。、—–-]*)?{_HERE}[^.\n:：。]{{0,80}}{_FORM}[^.\n:：。]{{0,60}}[:：]\s+(?=\S)"
    rf"|^\W*{_ACKNOWLEDGED}\s*[!！]\s*(?=\S)"
)
_OFFERS = (
    r"(?:please )?let me know (?:if|whether|what|how)\b|i hope (?:this|that|it|the)\b[^\n]{0,40}"
    r"\b(?:help|useful|meets?|need|expect|enjoy|what you)\w*|(?:please )?feel free to\b|"
    r"would you like (?:me|any|a|an|to|more|further)\b|do you want me to\b|is there anything else\b|"
    r"if you (?:need|want|have|would like|['’]d like)\b[^\n]{0,120}\b(?:let me know|feel free|ask|i can|i['’]d be)\b|"
    r"(?:this|the) (?:article|text|summary|list|table|rewrite|version|conversation|tutorial) (?:is|was) "
    r"(?:based|written|derived) (?:on|from|solely|only|entirely)\b|"
    r"ich hoffe\b[^\n]{0,40}\b(?:hilft|hilfreich|gefällt|entspricht)\b|"
    r"lass(?:en sie)?(?: es)? mich (?:gerne )?wissen\b|möchte(?:n sie|st du)\b[^\n]{0,80}\?|"
    r"n['’]hésitez pas\b|j['’]espère que\b|souhaitez-vous\b|voulez-vous que\b|espero que (?:esto|te|le|isto)\b|"
    r"(?:¿)?(?:te|le) gustaría que\b|av[íi]same si\b|no dudes en\b|háganmelo saber\b|spero che\b|fammi sapere\b|"
    r"надеюсь, (?:это|что)\b|дайте (?:мне )?знать\b|хотите, (?:чтобы )?я\b|"
    r"если (?:у вас|вам)[^\n]{0,60}(?:вопрос|нужн)|"
    r"希望(?:这|以上|对您|对你|本文)|如果(?:您|你)(?:需要|想|有)[^\n]{0,60}(?:告诉|随时|请)|请(?:随时)?告诉我|需要我|"
    r"お役に立て|ご不明な点|도움이 되"
)
_COUNTED = (
    r"(?:[(（\[*_])*\s*"
    r"(?:(?:approx(?:imate(?:ly)?|\.)? |about |total )?(?:word|token|character)s?[ _-]?count\s*[:：=]?"
    r"\s*[\d,.]+[^\n]{0,30}|(?:approximately |about |total[: ]+|~ ?)?[\d,.]+ words(?: total)?|"
    r"(?:wort(?:an)?zahl|wörter|nombre de mots|mots|palabras|n[úu]mero de palabras|количество слов|слов|字数(?:统计)?|"
    r"字數|文字数)\s*[:：]\s*(?:约)?[\d,.]+[^\n]{0,12})\s*[)）\]*_.]*"
)
_NOTE = r"[(\[*_]*\s*note\s*[:：][^\n]*\b(?:article|text|document|source|prompt|request|word|i )[^\n]*"
_LAST_LINE = re.compile(rf"(?i)^\W*(?:{_OFFERS})|^{_COUNTED}$|^{_NOTE}$|^[\s*_=—–-]+$|^\W*(?:the end|end of \w+)\W*$")
_TAIL = re.compile(rf"(?i)(?<=[.!?。！？])[ \t]*(?:(?:{_OFFERS})[^\n]*|[(\[*]{_COUNTED})$")


def unwrap(text: str, template: str = "", names: Collection[str] = NAMES) -> tuple[str, tuple[str, ...]]:
    """Take off all layers around a text; return it, and what was taken off by name, in the order of NAMES.

    template: the prompt, whose own words for a form keep it; names: what may be taken off. The same text comes back
    where nothing is around it; it may be empty where nothing was in it.
    """
    asked = template.lower()
    layers: dict[str, Callable[[str], str]] = {
        "tokens": _without_tokens,
        "marker": lambda part: _MARKER.sub("", part),
        "announcement": _without_announcement,
        "closing": _without_closing,
        "fence": _without_fences,
        "json": _out_of_json,
        "xml": _out_of_xml,
    }
    wanted = {"json": ("json",), "xml": ("xml", "html"), "fence": ("```", "code block", "fence")}
    applied = {
        name: layer
        for name, layer in layers.items()
        if name in names and not any(word in asked for word in wanted.get(name, ()))
    }
    found: set[str] = set()
    text = text.strip()
    for _ in range(_LAYERS):
        before = text
        for name, layer in applied.items():
            bare = layer(text).strip()
            if bare != text:
                found.add(name)
                text = bare
        if text == before:
            break
    return text, tuple(name for name in NAMES if name in found)


def _without_tokens(text: str) -> str:
    """Cut tokens of chat templates; what follows the end of a turn is another turn."""
    _, asked, answer = text.rpartition("[/INST]")
    text = answer if asked and answer.strip() else text
    begin = _HEAD_TOKEN.match(text)
    text = text[begin.end() :] if begin else text
    end = next((match for match in _END.finditer(text) if text[: match.start()].strip()), None)
    return _ANY_TOKEN.sub("", text[: end.start()] if end else text)


def _without_fences(text: str) -> str:
    return text if "```" not in text and "~~~" not in text else _FENCE.sub("", _FENCE_LINE.sub("", text))


def _without_announcement(text: str) -> str:
    line, _, rest = text.partition("\n")
    if rest.strip() and len(line) <= _LINE and (_FIRST_LINE.search(line) or _LABEL.search(line)):
        return rest
    return _INLINE.sub("", text, count=1) if rest or len(line) > _LINE // 3 else text


def _without_closing(text: str) -> str:
    while True:
        body, _, line = text.rpartition("\n")
        if body.strip() and len(line) <= _LINE and _LAST_LINE.search(line.strip()):
            text = body.rstrip()
            continue
        start = text.rfind("\n") + 1
        bare = text[:start] + _TAIL.sub("", text[start:])
        if bare == text:
            return text
        text = bare.rstrip()


def _out_of_xml(text: str) -> str:
    if not text.startswith("<"):
        return text
    whole = _XML.fullmatch(text)
    if whole:
        return whole.group(2)
    opening = _XML_OPEN.match(text)  # a cut-off answer never closes it
    return text[opening.end() :] if opening and f"</{opening.group(1)}" not in text else text


def _out_of_json(text: str) -> str:
    """Return the strings of a JSON text one under another; the text itself where it is none, or holds no string."""
    if text[:1] not in ("{", "[", '"'):
        return text
    for end in ("", '"}', '"]}', '"]', '"}]}', '"}]', "]}", "}", "}]}", "]"):  # a cut-off answer lacks its end
        try:
            found = json.loads(text + end, strict=False)
        except (ValueError, RecursionError):
            continue
        if isinstance(found, dict | list | str):
            return _spelled(found) or text
        return text
    return text


def _spelled(found: Any) -> str:
    if isinstance(found, dict):
        lower = {str(key).lower(): value for key, value in found.items()}
        if isinstance(lower.get("question"), str) and isinstance(lower.get("answer"), str):
            return f"Question: {lower['question']}\nAnswer: {lower['answer']}"
        said = next((lower[key] for key in ("text", "line", "content") if isinstance(lower.get(key), str)), None)
        who = next((lower[key] for key in ("speaker", "role") if isinstance(lower.get(key), str)), None)
        if who and said:
            return f"{who}: {said}"
        main = next((key for key in _MAIN_KEYS if isinstance(lower.get(key), str | list | dict)), None)
        if main:
            title = next((lower[key] for key in _TITLES if isinstance(lower.get(key), str)), "")
            return "\n\n".join(part for part in (title, _spelled(lower[main])) if part)
    if isinstance(found, list):
        apart = "\n\n" if any(isinstance(part, dict | list) for part in found) else "\n"
        return apart.join(filter(None, map(_spelled, found)))
    return "\n".join(_strings(found))


def _strings(found: Any) -> Iterator[str]:
    if isinstance(found, str):
        yield found
    elif isinstance(found, dict | list):
        yield from chain.from_iterable(map(_strings, found.values() if isinstance(found, dict) else found))
