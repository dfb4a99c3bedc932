"""Quota: whether an error says that there is no money or quota left, which no wait in this run will change.

Servers say it with many statuses: 402, 429 beside ordinary rate limits, 400, 403, and in bodies of 200. Codes are those
of OpenAI, Azure, OpenRouter, LiteLLM, Moonshot, Model Studio, Ark and Zhipu; words those of others.
"""

import json
import re
from typing import Any

_CODES = frozenset(
    {
        "insufficient_quota",
        "billing_hard_limit_reached",
        "billing_not_active",
        "account_deactivated",
        "exceeded_current_quota_error",
        "insufficient_balance",
        "insufficient_credits",
        "insufficient_funds",
        "budget_exceeded",
        "arrearage",
        "accountoverdueerror",
        "payment_required",
        "402",
        "1113",
    }
)
_WORDS = re.compile(
    r"insufficient[ _-]?(?:account[ _-]?)?(?:quota|balance|credits?|funds)|"
    r"(?:credits?|account|balance)\b.{0,30}\b(?:too low|insufficient|exhausted|depleted|used up|not enough)|"
    r"(?:out of|no|enough|any) (?:remaining )?credits?\b|"
    r"exceeded your (?:current |monthly )?(?:quota|included credits|budget)|exceeded your monthly|"
    r"budget has been exceeded|(?:spend(?:ing)?|billing|credit) (?:hard )?(?:limit|cap)\b|"
    r"billing (?:details|plan)|payment required|overdue|欠费|余额不足|额度",
    re.IGNORECASE,
)
# Limits by the minute or day, of which some servers tell in the same words.
_PASSES = re.compile(r"retry|try again|per (?:second|min|hour|day)|requests? rate", re.IGNORECASE)
_PAYMENT_REQUIRED = 402


def words_of(status: int, body: str, is_told_to_wait: bool = False) -> str | None:
    """Return what an error says where it means that the quota is used up, or None.

    is_told_to_wait: whether the server said when to come again: then only a code counts.
    """
    error = _error(body)
    said = error.get("message") or error.get("detail") or error.get("error")
    said = said.strip() if isinstance(said, str) and said.strip() else body.strip()
    codes = {str(error.get(name)).lower() for name in ("code", "type", "status")}
    may_pass = is_told_to_wait or _PASSES.search(body)
    by_words = status in (400, 403, 412, 429) and not may_pass and _WORDS.search(said)
    if status == _PAYMENT_REQUIRED or codes & _CODES or by_words:
        return said or "payment required"
    return None


def _error(body: str) -> dict[str, Any]:
    """Return the object that tells of an error, wherever a server puts it; empty for other bodies."""
    try:
        tree = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    tree = tree[0] if isinstance(tree, list) and tree else tree
    if not isinstance(tree, dict):
        return {}
    inner = tree.get("error")
    return inner if isinstance(inner, dict) else tree
