"""Dates: what a full date of ISO 8601 is, as sources write it."""

import re
from datetime import date

# The days of the years 1 to 9999, counted from 1970-01-01.
DAYS = (-719_162, 2_932_896)
# A calendar date of a four-digit year; a time of day may follow, as RFC 3339 writes it, and as ISO 8601 does without
# seconds or zone, which do not change the day. Read alike by Python and by polars.
ISO_DATE = (
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"(?:[Tt ](?:[01][0-9]|2[0-3]):[0-5][0-9](?::(?:[0-5][0-9]|60)(?:[.,][0-9]+)?)?"
    r"(?: ?(?:[Zz]|[+-](?:[01][0-9]|2[0-3])(?::?[0-5][0-9])?))?)?"
)
_ISO_DATE = re.compile(ISO_DATE)
_DIGIT = re.compile(r"\d")


def iso_day(text: str) -> str | None:
    """Give the day (YYYY-MM-DD) of a full ISO 8601 date of the years 1 to 9999, None for anything else."""
    text = text.strip()
    try:
        return str(date.fromisoformat(text[:10])) if _ISO_DATE.fullmatch(text) else None
    except ValueError:
        return None


def first_day(texts: list[str]) -> str | None:
    """Give the day of the first text that is a date; where none is, the first that looks like one, for the run to tell
    of, or None.
    """
    days = (day for text in texts if (day := iso_day(text)))
    return next(days, None) or next((text for text in texts if _DIGIT.search(text)), None)
