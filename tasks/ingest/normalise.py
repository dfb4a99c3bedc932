"""Normalise: one form for each text, so that equal texts have equal ids, and for each date; and the columns of a shard.

Of a text are changed, and nothing else: line ends (CR LF, CR, vertical tab, form feed) become LF; the other C0 controls
but tab, and DEL, are removed; C2PA wrappers are removed; characters are composed (NFC); whitespace at line ends, blank
lines at both ends and byte-order marks at the start are removed. Indentation, blank lines inside, no-break and
zero-width characters, and C1 controls (a sign of a wrong character set that filters should see) stay.
Normalising twice changes nothing.
Of dates nothing is guessed: a value is a date in full or no date. The day is the one written, whatever the zone; of
seconds and milliseconds the one in UTC.
"""

import hashlib
from collections.abc import Callable

import polars as pl
import pyarrow as pa

from cuvee.schemas.document import SHARD
from cuvee.schemas.recipe import DateFormat, Ingest
from cuvee.tasks.ingest import c2pa
from cuvee.tasks.ingest.mask import mask
from cuvee.tasks.ingest.names import hide_ids
from cuvee.tasks.ingest.strings import inside_json, where_present
from cuvee.tasks.readers import DAYS, ISO_DATE
from cuvee.tasks.words.counts import count_words

_TO_CLEAN = r"[\x00-\x08\x0b-\x1f\x7f]"
_LINE_ENDS = r"\r\n|[\r\x0b\x0c]"
_TRAILING = r"[^\S\n]+\n"
_LEADING = r"\A(?:\x{feff}|[^\S\n]*\n)+"
# A superset of the characters that NFC changes, reorders or composes with the one before: marks, conjoining Hangul,
# and the blocks with characters that decompose for good. NFC runs at 85 MB/s, this search at 500.
_PERHAPS_NOT_NFC = (
    r"[\p{M}\x{1160}-\x{11ff}\x{0374}\x{037e}\x{0387}\x{1f71}-\x{1fff}\x{2000}\x{2001}\x{2126}\x{212a}\x{212b}"
    r"\x{2329}\x{232a}\x{2adc}\x{f900}-\x{faff}\x{fb1d}-\x{fb4f}\x{11000}-\x{1ffff}\x{2f800}-\x{2fa1f}"
    r"\x{0958}-\x{095f}\x{09dc}-\x{09df}\x{0a33}-\x{0a5e}\x{0b5c}\x{0b5d}\x{0f43}-\x{0f69}]"
)

_ISO = rf"^(?:{ISO_DATE})$"
_PER_DAY = {"epoch_s": 86_400, "epoch_ms": 86_400_000}
_NUMBER = r"^[+-]?[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]{1,2})?$"
_NO_DAY = pl.Series("created", [None], pl.Date), pl.Series("looks", [False])
_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
# RFC 2822, section 3.3, with the zones of section 4.3 and a remark behind; years have four digits.
_RFC_2822 = (
    rf"^(?:(?P<weekday>{'|'.join(_WEEKDAYS)})\s*,\s*)?(?P<day>[0-9]{{1,2}})\s+(?P<month>{'|'.join(_MONTHS)})\s+"
    r"(?P<year>[0-9]{4})\s+(?:[01][0-9]|2[0-3]):[0-5][0-9](?::(?:[0-5][0-9]|60))?\s+"
    r"(?:[+-][0-9]{2}[0-5][0-9]|ut|gmt|[ecmp][sd]t|[a-ik-z])(?:\s*\([^()]*\))?$"
)


def _change(text: pl.Series, where: pl.Series, change: Callable[[pl.Series], pl.Series]) -> pl.Series:
    """Change the texts at `where` (boolean), and pass the others on without a copy of their bytes."""
    places = where.arg_true()
    if places.is_empty():
        return text
    return text.clone().scatter(places, change(text.gather(places)))


def _clean(text: pl.Series) -> pl.Series:
    return text.str.replace_all(_LINE_ENDS, "\n").str.replace_all(_TO_CLEAN, "")


def measure(text: pl.Series) -> pl.DataFrame:
    """Count words, chars (code points) and bytes (UTF-8) of each text, as int64."""
    sizes = {"chars": text.str.len_chars(), "bytes": text.str.len_bytes()}
    return pl.DataFrame({"words": count_words(text), **{name: size.cast(pl.Int64) for name, size in sizes.items()}})


def normalise(text: pl.Series) -> pl.DataFrame:
    """Normalise texts (string, in any order), and note and remove their C2PA manifests.

    Gives text and c2pa (string or null; see `cuvee.tasks.ingest.c2pa`), a row for each text, in the same order, also
    where nothing is left of it (an empty text).
    """
    is_marked = text.str.contains(c2pa.PREFIX, literal=True).any()
    notes = c2pa.note(text) if is_marked else pl.Series([None], dtype=pl.String).new_from_index(0, len(text))
    text = _change(text, text.str.contains(_TO_CLEAN), _clean)
    # Cleaning may join the halves of a wrapper.
    text = c2pa.strip(text) if is_marked or text.str.contains(c2pa.PREFIX, literal=True).any() else text
    text = _change(text, text.str.contains(_PERHAPS_NOT_NFC), lambda rows: rows.str.normalize("NFC"))
    text = _change(text, text.str.contains(_TRAILING), lambda rows: rows.str.replace_all(_TRAILING, "\n"))
    text = text.str.strip_chars_end()
    text = _change(text, text.str.contains(_LEADING), lambda rows: rows.str.replace(_LEADING, ""))
    return pl.DataFrame([text.alias("text"), notes.alias("c2pa")])


def doc_ids(text: pl.Series) -> pl.Series:
    """Give the id of each text: the first 32 lower-case hex digits of the SHA-256 of its UTF-8 bytes.

    A Python loop: no engine at hand has SHA-256, and the loop itself is 1 µs a document beside the hash. As
    bytes a text of 60 MB is copied once, not twice.
    """
    rows = text.cast(pl.Binary)
    return pl.Series("doc_id", [hashlib.sha256(row).hexdigest()[:32] for row in rows], dtype=pl.String)


def days(values: pl.Series, form: DateFormat) -> pl.DataFrame:
    """Give `created` (Date or null) of each value (string or null), and whether it only `looks` like a date (Boolean).

    form: how the source writes dates; a full ISO 8601 date is taken in every form, since it is no other. Dates lie in
    the years 1 to 9999. What holds a digit and is no date looks like one.
    """
    if values.null_count() == len(values):
        return pl.DataFrame([column.new_from_index(0, len(values)) for column in _NO_DAY])
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
    return pl.when(day.is_between(*DAYS)).then(day).cast(pl.Int32).cast(pl.Date)


def _from_rfc_2822(text: pl.Expr) -> pl.Expr:
    """Read dates of messages; one whose weekday is another is none."""
    parts = text.str.to_lowercase().str.extract_groups(_RFC_2822).struct
    month = parts.field("month").replace_strict(_MONTHS, range(1, 13), default=None, return_dtype=pl.Int8)
    name = pl.concat_str(parts.field("year"), month.cast(pl.String), parts.field("day"), separator="-")
    is_day = parts.field("year") != "0000"
    day = pl.when(is_day).then(name.str.to_date("%Y-%m-%d", strict=False))
    weekday = parts.field("weekday").replace_strict(_WEEKDAYS, range(1, 8), default=None, return_dtype=pl.Int8)
    return pl.when(weekday.is_null() | (weekday == day.dt.weekday())).then(day)


def many(text: pl.Series) -> pl.Series:
    """Put an empty text behind a single one: polars 2.1 copies the only value of a column at each step, up to four
    times, and it may have 64 MB.
    """
    return text.clone().append(pl.Series([""])) if len(text) == 1 else text


def shape(rows: pl.DataFrame, options: Ingest, masked: dict[str, int]) -> pa.Table:
    """Give a batch of rows, whose `created` is a date, the columns of a shard, every string of them masked. The batch
    loses its text.

    masked: counts what is put in, by kind; in messages it is the same as in their text, and counts once, and in ids
    and names of models it does not count.
    """

    def hide(strings: pl.Series) -> pl.Series:
        hidden, counts = mask(strings, options.mask)
        for kind, count in counts.items():
            masked[kind] += count
        return hidden

    def quiet(strings: pl.Series) -> pl.Series:
        return mask(strings, options.mask)[0]

    height = rows.height
    clean = normalise(many(rows.drop_in_place("text")))
    text = hide(clean.drop_in_place("text"))
    thin = rows.with_columns(
        measure(text).head(height),
        doc_id=doc_ids(text).head(height),
        c2pa=clean["c2pa"].head(height),
        url=where_present(rows["url"], hide),
        title=where_present(rows["title"], hide),
        messages=inside_json(rows["messages"], lambda found: quiet(normalise(found)["text"])),
        extra=inside_json(rows["extra"], hide),
        generator=where_present(rows["generator"], quiet),
        model=where_present(rows["model"], quiet),
        source_id=where_present(rows["id"], lambda found: hide_ids(found, options.mask)),
        origin=pl.col("origin").str.to_lowercase(),
    )
    return as_shard(thin.to_arrow().append_column("text", text.head(height).to_arrow()))


def as_shard(table: pa.Table) -> pa.Table:
    """Give a table exactly the columns of a shard, null where it has none."""
    columns = [
        table[field.name].cast(field.type) if field.name in table.column_names else pa.nulls(len(table), field.type)
        for field in SHARD
    ]
    return pa.table(columns, schema=SHARD)
