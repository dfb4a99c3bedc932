"""Phrases: answers that talk to a user instead of doing the task: refusals, preambles, closings."""

import polars as pl

# Where a model talks to its user instead of doing the task, in its first sentences or in its last.
HEAD_CHARACTERS, TAIL_CHARACTERS = 240, 160

_NOT = r"(?:can['’]?t|cannot|can not|won['’]t|am unable to|['’]m unable to|am not able to|['’]m not able to)"
_TASK = r"(?:help|assist|provide|write|create|rewrite|generate|produce|fulfil|complete|comply|access|see|read|do that)"
_FORM = r"(?:article|summary|lists?|table|version|text|dialogue|conversation|tutorial|faq|questions?|answers?|page)"
# Matched in the head alone, in either case, after marks and spaces.
_REFUSALS = (
    r"(?:i['’]m|i am|we are|we['’]re)? ?(?:very |so )?sorry\b.{0,60}\b(?:" + _NOT + r"|unable|not able)",
    r"(?:unfortunately,? |i apologi[sz]e,? (?:but )?|my apologies,? (?:but )?)i ?" + _NOT,
    r"i ?" + _NOT + r"\b.{0,60}\b" + _TASK,
    r"i['’]m afraid (?:that )?i ?" + _NOT,
    r"i (?:must|have to|need to) (?:respectfully )?(?:decline|refuse)\b|i (?:do not|don['’]t) feel comfortable\b",
    r"(?:this|your|the) request (?:violates|goes against|is against|conflicts with)\b",
    r"(?:the|your) (?:document|text|article|source|content)\b.{0,40}\b(?:is empty|is blank|is missing|"
    r"was not provided)\b"
    r".{0,60}\b(?:i|please)\b",
    r"there(?: is|['’]s) no (?:document|text|content|article)\b.{0,20}\b(?:attached|provided|included|here)\b",
    r"i (?:do not|don['’]t) have (?:enough|sufficient|any) (?:information|context|details)\b.{0,40}\b" + _TASK,
    r"(?:i apologi[sz]e|sorry|my apologies)\b.{0,40}\b(?:violates|goes against|is against|conflicts with)\b",
    r"(?:my|our) (?:guidelines|policies|policy|instructions|programming)\b.{0,20}\b(?:prevent|prohibit|forbid|"
    r"do(?:es)? not allow|do(?:es)?n['’]t allow)",
    r"i(?:['’]d| would) rather not\b",
    r"(?:thank you|thanks|i understand|i appreciate)\b.{0,80}\b(?:but|however),? i ?" + _NOT,
    r"please (?:provide|share|paste|send|supply) (?:me )?(?:with )?(?:the|your|a) (?:\w+ )?(?:document|text|"
    r"article|source)\b"
    r".{0,60}\b(?:you|i)\b",
    r"it (?:seems|looks|appears)\b.{0,20}\b(?:no|not|didn['’]t|haven['’]t|forgot)\b.{0,40}\b(?:document|text|content)\b"
    r".{0,30}\b(?:provided|included|attached|given|provide|include|attach|share)\b",
    r"i(?:['’]d| would) be (?:happy|glad) to help\b.{0,40}\b(?:but|once|need|please|if you)\b",
    r"as an? (?:ai|artificial intelligence|large language model|language model)\b",
    # German, French, Spanish, Portuguese, Italian, Dutch, Polish.
    r"(?:es tut mir (?:sehr )?leid|tut mir leid|entschuldigung|leider)\b.{0,60}\b(?:kann|darf|möchte|werde) ich\b"
    r".{0,80}\b(?:nicht|kein\w*)\b",
    r"(?:es tut mir (?:sehr )?leid|tut mir leid)\b.{0,20}\bich (?:kann|darf|werde)\b.{0,80}\b(?:nicht|kein\w*)\b",
    r"(?:ich kann|ich darf|dabei kann ich|das kann ich)\b.{0,60}\b(?:nicht|kein\w*)\b.{0,60}\b"
    r"(?:helfen|schreiben|umschreiben|tun|zusammenfassen|erstellen|verfassen|erfüllen|bereitstellen|nachkommen|beantworten|bearbeiten|verarbeiten)\b",
    r"ich bin (?:leider )?nicht in der lage\b|ich muss\b.{0,40}\bablehnen\b",
    r"diese[rnm]? (?:anfrage|bitte|aufgabe)\b.{0,20}\bkann ich\b.{0,40}\bnicht\b",
    r"bitte stell(?:en sie|e)?\b.{0,40}\b(?:dokument|text|artikel)\b.{0,30}\bverfügung\b",
    r"als (?:ki|künstliche intelligenz|sprachmodell)\b",
    r"(?:je suis (?:vraiment )?désolée?|désolée?|malheureusement)\b.{0,60}\bje ne (?:peux|puis|suis)\b",
    r"je ne (?:peux|puis|suis) pas\b.{0,60}\b(?:aider|écrire|fournir|rédiger|répondre|créer|générer|satisfaire|mesure|"
    r"réécrire|reformuler|traiter|continuer)|il m['’]est impossible de\b",
    r"en tant qu(?:e |['’])(?:ia|intelligence artificielle|une ia|un modèle|modèle)\b",
    r"je refuse de (?:répondre|rédiger|écrire|traiter)\b|je regrette\b.{0,40}\bje ne (?:peux|puis)\b",
    r"veuillez (?:me )?(?:fournir|envoyer|partager|coller)\b.{0,30}\b(?:document|texte|article)\b",
    r"(?:lo siento|lo lamento|lamentablemente|disculpa)\b.{0,60}\bno (?:puedo|me es posible|soy capaz)\b",
    r"no puedo\b.{0,60}\b(?:ayudar|escribir|proporcionar|crear|generar|cumplir|responder|redactar|reescribir|"
    r"realizar|continuar)",
    r"no (?:me es posible|estoy en condiciones de|soy capaz de)\b.{0,40}\b(?:ayudar|escribir|crear|generar|"
    r"redactar|responder|cumplir|reescribir|realizar)",
    r"por favor,? (?:proporcion|compart|envía|facilit)\w*\b.{0,30}\b(?:documento|texto|artículo)\b",
    r"como (?:una? )?(?:ia|inteligencia artificial|modelo de lengua\w+|modelo de linguagem)\b",
    r"(?:desculpe|sinto muito|lamento|infelizmente)\b.{0,60}\bnão (?:posso|consigo)\b",
    r"não (?:posso|consigo)\b.{0,60}\b(?:ajudar|escrever|reescrever|fornecer|criar|gerar|atender|responder|continuar)",
    r"(?:mi dispiace|purtroppo)\b.{0,60}\bnon (?:posso|sono in grado)\b",
    r"non (?:posso|sono in grado di)\b.{0,60}\b(?:aiutar|scrivere|riscrivere|fornire|creare|generare|rispondere)",
    r"(?:het spijt me|sorry|helaas)\b.{0,60}\b(?:ik kan|kan ik)\b.{0,60}\b(?:niet|geen)\b",
    r"(?:przykro mi|przepraszam|niestety)\b.{0,60}\bnie (?:mogę|jestem w stanie)\b",
    r"ik kan\b.{0,40}\b(?:niet|geen)\b.{0,30}\b(?:helpen|schrijven|herschrijven|maken|uitvoeren|voldoen)",
    r"nie (?:mogę|jestem w stanie)\b.{0,40}\b(?:pomóc|napisać|przepisać|spełnić|wykonać|stworzyć)",
    # Swedish, Danish and Norwegian, Finnish, Czech and Slovak, Romanian, Hungarian, Greek.
    r"(?:jag är ledsen|ledsen|tyvärr|förlåt)\b.{0,40}\bkan (?:jag )?inte\b",
    r"(?:beklager|desværre|dessverre|undskyld|unnskyld)\b.{0,40}\bkan (?:jeg )?ikke\b",
    r"(?:anteeksi|valitettavasti|pahoittelen|olen pahoillani)\b.{0,40}\ben (?:voi|pysty)\b",
    r"(?:omlouvám se|bohužel|lituji|ospravedlňujem sa|žiaľ)\b.{0,40}\b(?:nemohu|nemůžu|nemôžem|nejsem schopen)\b",
    r"(?:îmi pare rău|din păcate)\b.{0,40}\bnu (?:pot|sunt în măsură)\b",
    r"(?:sajnálom|sajnos|elnézést)\b.{0,60}\bnem (?:tudok|segíthetek|teljesíthetem|áll módomban)\b",
    r"(?:λυπάμαι|συγγνώμη|δυστυχώς)\b.{0,40}\bδεν μπορώ\b",
    # Indonesian, Vietnamese, Thai, Hebrew.
    r"(?:mohon )?maaf\b.{0,20}\bsaya tidak (?:dapat|bisa)\b",
    r"(?:xin lỗi|rất tiếc)\b.{0,40}\bkhông thể\b",
    r"(?:ขออภัย|ขอโทษ|เสียใจ).{0,40}ไม่สามารถ",
    r"(?:סליחה|מצטער|לצערי).{0,40}(?:לא יכול|לא ניתן)",
    # Russian, Ukrainian, Chinese, Japanese, Korean, Arabic, Hindi, Turkish.
    r"(?:извините|простите|к сожалению|мне жаль|прошу прощения)\b.{0,60}\bя? ?не (?:могу|можу|в состоянии|способен)",
    r"я не могу\b.{0,60}(?:помочь|написать|переписать|предоставить|создать|выполнить|ответить|продолжить)",
    r"(?:простите|извините|к сожалению)\b.{0,40}(?:невозможно|не получится)",
    r"пожалуйста,? (?:предоставьте|пришлите|отправьте|вставьте)\b.{0,30}(?:документ|текст)",
    r"как (?:ии|искусственный интеллект|языковая модель)\b",
    r"(?:вибачте|на жаль|перепрошую)\b.{0,60}\bне (?:можу|в змозі)",
    r"(?:很?抱歉|对不起|對不起|不好意思|非常抱歉|非常遗憾|很遗憾).{0,30}(?:无法|不能|不可以|没办法|無法|沒辦法)",
    r"我(?:无法|不能|没办法|無法).{0,20}(?:帮|提供|协助|写|生成|完成|满足|回答|创建|处理|继续|幫|寫|協助)",
    r"(?:这个|该|此|您的|你的)(?:问题|请求|要求|任务).{0,8}(?:无法|不能|没办法)",
    r"请(?:您)?(?:先)?提供.{0,12}(?:文档|文本|文章|原文)",
    r"作为(?:一个|一名)?(?:ai|人工智能|语言模型|大型语言模型)",
    r"(?:申し訳(?:ありません|ございません)|すみません|恐れ入りますが).{0,60}(?:できません|できかねます|いたしかねます|お手伝い|お答え)",
    r"(?:その|この|ご)リクエスト.{0,20}(?:できません|できかねます)",
    r"(?:이|해당|그) 요청.{0,20}(?:수 없|어렵)",
    r"(?:죄송합니다|죄송하지만|유감스럽게도).{0,60}(?:수 없|어렵|불가)",
    r"(?:عذر[اًا]*|آسف|للأسف|أعتذر).{0,60}(?:لا (?:أستطيع|يمكنني|أقدر)|لن أتمكن)",
    r"(?:क्षमा करें|माफ़? ?करें|मुझे खेद है|क्षमा कीजिए).{0,80}(?:नहीं|असमर्थ)",
    r"(?:üzgünüm|maalesef|özür dilerim).{0,80}(?:edemem|edemiyorum|yapamam|olamam|olamıyorum|yazamam|mümkün değil)",
)
_PREAMBLES = (
    r"(?:sure|certainly|of course|absolutely|okay|ok|great)\b ?[,!.:—–-].{0,80}\b(?:here|below|following)\b",
    r"here(?:['’]s| is| are)\b[^.\n]{0,80}\b" + _FORM + r"\b[^.\n]{0,60}(?::|\.\s*\n|\n)",
    r"below (?:is|are)\b[^.\n]{0,80}\b" + _FORM + r"\b",
    r"(?:based on|according to) the (?:provided|given|above) (?:document|text|article|passage|source)\b",
)
_CLOSINGS = (
    r"let me know if\b",
    r"i hope (?:this|that) helps",
    r"feel free to ask",
    r"would you like me to\b",
    r"is there anything else\b",
)
_REFUSAL = r"(?is)^\W*(?:" + "|".join(_REFUSALS) + ")"
_PREAMBLE = r"(?is)^\W*(?:" + "|".join(_PREAMBLES) + ")"
_CLOSING = r"(?i)(?:^|[\n.!?]\s*)(?:" + "|".join(_CLOSINGS) + r")[^\n]*\s*$"


def answering(text: pl.Series) -> pl.DataFrame:
    """Tell which texts refuse, and which talk about themselves before they begin or after they end.

    Columns: refusal, preamble (boolean).
    """
    head = text.str.slice(0, HEAD_CHARACTERS)
    tail = pl.DataFrame({"text": text}).select(pl.col("text").str.tail(TAIL_CHARACTERS))["text"]
    # A refusal is short: a long text that begins with an apology quotes one.
    brief = text.str.len_chars() <= 4 * HEAD_CHARACTERS
    return pl.DataFrame(
        {
            "refusal": head.str.contains(_REFUSAL) & brief,
            "preamble": head.str.contains(_PREAMBLE) | tail.str.contains(_CLOSING),
        }
    )
