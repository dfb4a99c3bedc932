"""Tokens: what is left in a text of the template of a conversation: its marks, whose turn it is, the next turn."""

import re

from cuvee.tasks.generators._remarks import LINE

_ENDS = (
    r"<\|(?:im_end|eot_id|eom_id|endoftext|end_of_text|end|return|endofprompt|END_OF_TURN_TOKEN)\|>|</s>|<eos>|"
    r"<end_of_turn>|<｜end▁of▁sentence｜>|\[INST\]|<\|user\|>|<\|start_of_role\|>|<turn\|>|\[\|endofturn\|\]|<eod>|"
    r"\[\|(?:user|human)\|\]|<｜User｜>|<reserved_106>|"
    r"<(?:\|im_start\||start_of_turn|\|turn|extra_id_1|\|(?:start_header_id|header_start|role_start)\|)>\s*(?i:user|system)\b|"
    r"<\|turn>(?:user|system)\b"
)
_END = re.compile(_ENDS)
_HEAD_TOKEN = re.compile(
    r"(?:\s*(?:\[\|assistant\|\]|<extra_id_1>|<\|turn>|<reserved_107>|<\|(?:role_start|header_start|begin_of_text|im_start|start_header_id|start|assistant|startoftext|START_OF_TURN_TOKEN|"
    r"CHATBOT_TOKEN|start_of_role)\|>|<s>|<bos>|<start_of_turn>|<｜begin▁of▁sentence｜>|<｜Assistant｜>|\[/?INST\])"
    r"(?:\s*(?:assistant|model)\b)?(?:\s*<\|(?:end_header_id|header_end|end_of_role|role_end)\|>)?|"
    r"\s*<\|channel\|>[^<\n]*(?:<\|constrain\|>[^<\n]*)?<\|message\|>)+"
    r"|\s*(?:assistant|model|\[assistant\])[ \t]*\n",
    re.IGNORECASE,
)
_ANY_TOKEN = re.compile(
    r"<[|｜][A-Za-z0-9_▁]{1,40}[|｜]>|<(?:unk|pad|bos|eos|s|sop|eop)>|</s>|(?s:<<SYS>>.*?<</SYS>>)|<</?SYS>>|"
    r"\[/?INST\]|"
    r"\[(?:SEP|CLS|EOS|BOS|PAD|gMASK)\]|<(?:reserved|unused|SPECIAL|extra_id)_?\d+>|<_?(?:end|eod|eot)>|<\|?turn\|?>|"
    r"\[\|\w{1,20}\|\]|\s/(?:no_)?think\s*\Z"
)
# A token that an answer was cut off in.
_HALF_TOKEN = re.compile(r"\s*(?:<[|｜][\w▁]{0,40}[|｜]?|</s?|</?(?:think|end_of)\w*)\Z")
# The next turn of a conversation with the model itself.
_TURN = re.compile(
    r"\n\s*(?:(?:user|human)[ \t]*:|#{2,4}[ \t]*(?:instruction|input|user|human)\b[ \t]*:[ \t]*$)", re.I | re.M
)
_LABELLED = re.compile(r"(?m)^\W{0,4}[^\W\d_][\w .'’-]{0,30}[:：]\s")
_OTHERS = re.compile(
    r"(?im)^\W{0,4}(?!(?:user|human|assistant|ai|model|instruction|input|response)\b)[^\W\d_][\w .'’-]{0,30}[:：]\s"
)
_SPEAKER = re.compile(r"(?i)\A[*_#>\s-]{0,5}(?:assistant|ai|chatgpt|chatbot|bot|response)\W{0,3}[:：]\W{0,3}\s")


def without_tokens(text: str) -> str:
    """Cut tokens of chat templates; what follows the end of a turn is another turn."""
    _, asked, answer = text.rpartition("[/INST]")
    text = answer if asked and answer.strip() else text
    begin = _HEAD_TOKEN.match(text)
    text = text[begin.end() :] if begin else text
    end = next((match for match in _END.finditer(text) if text[: match.start()].strip()), None)
    text = _HALF_TOKEN.sub("", _ANY_TOKEN.sub("", text[: end.start()] if end else text))
    # A conversation has labels from its beginning.
    alone = text[_speaker_end(text) :]
    text = text if _LABELLED.search(alone[:LINE]) else alone
    turn = _TURN.search(text)
    if turn and text[: turn.start()].strip() and not _LABELLED.search(text[: turn.start()][:LINE]):
        return text if _OTHERS.search(text, turn.start()) else text[: turn.start()]
    return text


def _speaker_end(text: str) -> int:
    speaker = _SPEAKER.match(text)
    return speaker.end() if speaker else 0
