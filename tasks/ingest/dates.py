"""Dates: the day that a source's `created` names, in the form that the recipe says, and what only looks like one.

Nothing is guessed: a value is a date in full or no date. The day is the one written, whatever the zone; of seconds and
milliseconds the one in UTC.
"""

import polars as pl

from cuvee.schemas.recipe import DateFormat
from cuvee.tasks.readers import ISO_DATE

_ISO = rf"^(?:{ISO_DATE})$"
_PER_DAY = {"epoch_s": 86_400, "epoch_ms": 86_400_000}
_NUMBER = r"^[+-]?[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]{1,2})?$"
# The days of the years 1 to 9999, counted from 1970-01-01.
_DAYS = (-719_162, 2_932_896)
_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
# RFC 2822, section 3.3, with the zones of section 4.3 and a remark behind; years have four digits.
_RFC_2822 = (
    rf"^(?:(?P<weekday>{'|'.join(_WEEKDAYS)})\s*,\s*)?(?P<day>[0-9]{{1,2}})\s+(?P<month>{'|'.join(_MONTHS)})\s+"
    r"(?P<year>[0-9]{4})\s+(?:[01][0-9]|2[0-3]):[0-5][0-9](?::(?:[0-5][0-9]|60))?\s+"
    r"(?:[+-][0-9]{2}[0-5][0-9]|ut|gmt|[ecmp][sd]t|[a-ik-z])(?:\s*\([^()]*\))?$"
)


def days(values: pl.Series, form: DateFormat) -> pl.DataFrame:
    """Give `created` (Date or null) of each value (string or null), and whether it only `looks` like a date (Boolean).

    form: how the source writes dates; a full ISO 8601 date is taken in every form, since it is no other. Dates lie in
    the years 1 to 9999. What holds a digit and is no date looks like one.
    """
    text = pl.col("value").str.strip_chars()
    day: pl.Expr = pl.when(text.str.contains(_ISO) & ~text.str.starts_with("0000")).then(
        text.str.slice(0, 10).str.to_date("%Y-%m-%d", strict=False)
    )
    if form in _PER_DAY:
        day = pl.coalesce(day, _from_epoch(text, _PER_DAY[form]))
    elif form == "rfc2822":
        day = pl.coalesce(day, _from_rfc_2822(text))
    frame = values.alias("value").to_frame().select(created=day, looks=text.str.contains(r"\d"))
    return frame.with_columns(looks=(pl.col("looks") & pl.col("created").is_null()).fill_null(value=False))


def _from_epoch(text: pl.Expr, per_day: int) -> pl.Expr:
    number = pl.when(text.str.contains(_NUMBER)).then(text.cast(pl.Float64, strict=False))
    day = (number / per_day).floor()
    return pl.when(day.is_between(*_DAYS)).then(day).cast(pl.Int32).cast(pl.Date)


def _from_rfc_2822(text: pl.Expr) -> pl.Expr:
    """Read dates of messages; one whose weekday is another is none."""
    parts = text.str.to_lowercase().str.extract_groups(_RFC_2822).struct
    month = parts.field("month").replace_strict(_MONTHS, range(1, 13), default=None, return_dtype=pl.Int8)
    name = pl.concat_str(parts.field("year"), month.cast(pl.String), parts.field("day"), separator="-")
    is_day = parts.field("year") != "0000"
    day = pl.when(is_day).then(name.str.to_date("%Y-%m-%d", strict=False))
    weekday = parts.field("weekday").replace_strict(_WEEKDAYS, range(1, 8), default=None, return_dtype=pl.Int8)
    return pl.when(weekday.is_null() | (weekday == day.dt.weekday())).then(day)
