"""Rights: what pages and their sites say of training, by the drafts' examples and rules, and through the pipeline."""

import datetime
import gzip
import json
from pathlib import Path

import polars as pl
import pytest
from plain import ingested, publish_plainly, recipe_file
from texts import documents

from cuvee.schemas.errors import RecipeError
from cuvee.tasks.filters._preferences import combine, preferences
from cuvee.tasks.filters.opt_out import AI_AGENTS, reservations
from cuvee.tasks.ingest import robots
from cuvee.tasks.ingest.captures import named

TEXTS = documents(14)

# --- draft-ietf-aipref-vocab-08: values ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("train-ai=y, search=n", {"train-ai": True, "search": False}),
        ("train-ai=n", {"train-ai": False}),
        ("ai-use=n,train-ai=y", {"train-ai": True, "ai-use": False}),
        ("  train-ai=n\t,\tsearch=y  ", {"train-ai": False, "search": True}),
        ("", {}),
        # Of a label that comes twice the last counts, whatever it is.
        ("train-ai=y, train-ai=n", {"train-ai": False}),
        ('train-ai=y, train-ai, search=n, search="n"', {}),
        # A string, a boolean, a number and a list are no tokens; other tokens are no answers.
        ('train-ai="n"', {}),
        ("train-ai", {}),
        ("train-ai=?0", {}),
        ("train-ai=0", {}),
        ("train-ai=(n)", {}),
        ("train-ai=no", {}),
        ("train-ai=N", {}),
        # Keys are case-sensitive: a capital makes the whole value no dictionary.
        ("Train-AI=n", {}),
        ("train-ai=n, SEARCH=n", {}),
        # Labels that the vocabulary does not have, and parameters, are passed over.
        ("train-genai=n, bots=n", {}),
        ("x-new=n, train-ai=n", {"train-ai": False}),
        ("train-ai;allow=n, train-ai=y", {"train-ai": True}),
        ('train-ai=n;why="paid";@p', {}),
        ('train-ai=n;why="paid";p=1.5;q', {"train-ai": False}),
        ('train-ai;has;parameters="?";', {}),
        # What is no dictionary says nothing at all.
        ("train-ai=n,", {}),
        ("train-ai=n search=n", {}),
        ("train-ai=n; search=n", {"train-ai": False}),
        ("train-ai = n", {}),
        ("train-ai=n, search=ü", {}),
    ],
)
def test_a_value_says_what_its_dictionary_says_and_nothing_else(value, said):
    assert preferences(value) == said


@pytest.mark.parametrize(
    ("statements", "combined"),
    [
        ([], None),
        (["search=y"], None),
        (["train-ai=y"], True),
        (["train-ai=y", "search=n"], True),
        (["train-ai=y", "train-ai=n"], False),
        (["train-ai=n", "train-ai=y", "train-ai=y"], False),
        (['train-ai="n"', "train-ai=y"], True),
    ],
)
def test_of_several_statements_the_most_restrictive_wins_and_silence_is_unknown(statements, combined):
    assert combine(map(preferences, statements)).get("train-ai") is combined


# --- draft-ietf-aipref-attach-05: robots.txt -------------------------------------------------------------------------

EXAMPLE = """\
User-Agent: *
Allow: /
Disallow: /never/
Content-Usage: train-ai=n
Content-Usage: /ai-ok/ train-ai=y

User-Agent: ExampleBot
Allow: /
Content-Usage: train-ai=y
"""


def said(text, *paths, agents=("*",)):
    """Return what a robots.txt says of paths, as {crawler: ...} for each."""
    found = robots.say(robots.parse_robots(text), pl.Series(paths), agents)
    return [json.loads("{" + (one or "") + "}") for one in found]


def usage(text, path, agent="*"):
    """Return whether a crawler may train on a path: None where that is unknown, "-" where it may not fetch it."""
    (found,) = said(text, path, agents=(agent,))
    group = found.get("robots", {}).get(agent, {})
    return "-" if group.get("disallow") else combine(map(preferences, group.get("content-usage", []))).get("train-ai")


@pytest.mark.parametrize(
    ("path", "agent", "allowed"),
    [
        ("/test", "*", False),
        ("/never/test", "*", "-"),
        ("/ai-ok/test", "*", True),
        ("/test", "examplebot", True),
        ("/never/test", "examplebot", True),
        ("/ai-ok/test", "examplebot", True),
    ],
)
def test_the_drafts_example_gives_what_its_table_says(path, agent, allowed):
    assert usage(EXAMPLE, path, agent) == allowed


@pytest.mark.parametrize(
    ("rules", "path", "allowed"),
    [
        # A path ends at the first blank; without one, or with "/", the rule is for the whole site.
        ("Content-Usage: / train-ai=n", "/a", False),
        ("Content-Usage: train-ai=n", "/a", False),
        ("Content-Usage: /a\t train-ai=n", "/a/b", False),
        ("Content-Usage: /a train-ai=n", "/b", None),
        ("Content-Usage: /a/ train-ai=n", "/a", None),
        # Blanks around name and colon, capitals of the name, comments, line ends.
        (" \tCONTENT-usage \t:\t /a train-ai=n # all of it", "/a", False),
        ("Content-Usage: /a train-ai=n\r\nContent-Usage: /b train-ai=n\r", "/b", False),
        ('Content-Usage: train-ai="#", search=y', "/a", None),
        # The longest path counts, in whatever order the rules stand.
        ("Content-Usage: /a/b train-ai=y\nContent-Usage: /a train-ai=n", "/a/b/c", True),
        ("Content-Usage: /a train-ai=n\nContent-Usage: /a/b train-ai=y", "/a/c", False),
        ("Content-Usage: /a/b search=n\nContent-Usage: /a train-ai=n", "/a/b", None),
        # Rules of one path are statements of their own: the most restrictive wins, not the last.
        ("Content-Usage: /a train-ai=n\nContent-Usage: /a train-ai=y", "/a", False),
        ("Content-Usage: /a train-ai=y\nContent-Usage: /a train-ai=n", "/a", False),
        ("Content-Usage: train-ai=y\nContent-Usage: search=n", "/a", True),
        # Signs of a pattern, and percent-encoding: what may stand as it is, is compared as it is.
        ("Content-Usage: /*.pdf$ train-ai=n", "/x/y.pdf", False),
        ("Content-Usage: /*.pdf$ train-ai=n", "/x/y.pdf?v=1", None),
        ("Content-Usage: /a*/z train-ai=n", "/abc/z1", False),
        ("Content-Usage: /%7ejane/ train-ai=n", "/~jane/x", False),
        ("Content-Usage: /caf%C3%A9 train-ai=n", "/café", False),
        ("Content-Usage: /café train-ai=n", "/caf%c3%a9/menu", False),
        ("Content-Usage: /a%20b train-ai=n", "/a b", False),
        ("Content-Usage: /a%2Fb train-ai=n", "/a/b", None),
        ("Content-Usage: /a%2A train-ai=n", "/a*", False),
        ("Content-Usage: /a%2A train-ai=n", "/abc", None),
        ("Content-Usage: /a?id= train-ai=n", "/a?id=7", False),
        ("Content-Usage: /A train-ai=n", "/a", None),
        # Paths that may not be fetched have no preferences; of equal lengths Allow wins.
        ("Disallow: /a\nContent-Usage: train-ai=n", "/a/b", "-"),
        ("Disallow: /a\nAllow: /a/b\nContent-Usage: train-ai=n", "/a/b", False),
        ("Disallow: /a\nAllow: /a\nContent-Usage: train-ai=n", "/a/b", False),
        ("Disallow:\nContent-Usage: train-ai=n", "/a", False),
        # A rule without a statement, and one that is no dictionary, say nothing of their path.
        ("Content-Usage: /a\nContent-Usage: train-ai=n", "/a", None),
        ("Content-Usage: /a Train-AI=n\nContent-Usage: train-ai=n", "/a", None),
    ],
)
def test_a_rule_of_robots_txt_speaks_of_its_path(rules, path, allowed):
    assert usage(f"User-agent: *\n{rules}\n", path) == allowed


def test_groups_are_those_of_their_crawlers_and_rules_before_them_are_nobodys():
    text = """\ufeffContent-Usage: train-ai=n
License: https://a.example/terms.xml
User-agent: GPTBot/1.2
user-agent: CCBot
Content-Usage: /a train-ai=n
Sitemap: https://a.example/map.xml
User-agent: *
Content-Signal: search=yes, ai-train=no
User-agent: gptbot
Content-Usage: /b train-ai=n
"""
    agents = ("*", "gptbot", "ccbot", "claudebot")
    a, b = said(text, "/a", "/b", agents=agents)
    everybody = {"content-signal": ["search=yes, ai-train=no"]}
    assert a["robots"] == {
        "*": everybody,
        "gptbot": {"content-usage": ["train-ai=n"]},
        "ccbot": {"content-usage": ["train-ai=n"]},
    }
    assert b["robots"] == {"*": everybody, "gptbot": {"content-usage": ["train-ai=n"]}}
    assert a["license"] == ["https://a.example/terms.xml"]
    assert said("", "/a") == said("<html>Not found</html>", "/a") == [{}]


def found(page, site=None, crawlers=()):
    """Return the signals that a page and its site say."""
    return reservations(json.dumps(page), json.dumps(site or {}), crawlers)


def test_of_the_groups_of_crawlers_that_gather_text_the_most_restrictive_wins():
    site = {"robots": {"*": {"content-usage": ["train-ai=y"]}, "ccbot": {"content-usage": ["train-ai=n"]}}}
    assert found({}, site) == {"ai_train"}
    assert found({}, site, ["CCBot"]) == {"ai_train"}
    assert found({}, site, ["ExampleBot"]) == frozenset()
    assert found({"header": {"content-usage": ["train-ai=n"]}}, site, ["ExampleBot"]) == {"ai_train"}
    assert found({}, {"robots": {"*": {"disallow": True}}}) == frozenset()
    assert found({}, {"robots": {"gptbot": {"disallow": True}}}) == {"ai_disallow"}
    assert {"gptbot", "ccbot"} <= AI_AGENTS


@pytest.mark.parametrize(
    ("said", "names"),
    [
        # The lines of a header are one dictionary.
        ({"header": {"content-usage": ["train-ai=y", "train-ai=n"]}}, {"ai_train"}),
        ({"header": {"content-usage": ["train-ai=n", "train-ai=y"]}}, set()),
        ({"header": {"content-usage": ["Train-AI=n"]}}, set()),
        ({"header": {"content-usage": ['train-ai="n"']}}, set()),
        ({"header": {"content-usage": ["search=n, ai-use=n"]}}, {"search", "ai_use"}),
        ({"header": {"link": ['<https://a.example/l.xml>; rel="license"; type="application/rsl+xml"']}}, {"rsl"}),
        ({"meta": {"rsl-license": ["/license.xml"]}}, {"rsl"}),
    ],
)
def test_what_a_page_says_is_judged_by_the_same_rules(said, names):
    assert found(said) == names


def test_of_tdmrep_json_the_first_rule_that_matches_counts_and_the_page_comes_before_its_site():
    rules = [
        {"location": "/open/*", "tdm-reservation": 0},
        {"location": "/", "tdm-reservation": 1, "tdm-policy": "https://a.example/p.json"},
        {"location": 7},
        "nothing",
    ]
    inside = robots.say(robots.parse_tdmrep(json.dumps(rules)), pl.Series(["/open/a", "/b"]), ())
    free, reserved = (json.loads("{" + one + "}") for one in inside)
    assert (found({}, free), found({}, reserved)) == (frozenset(), {"tdm"})
    assert reserved["tdm-policy"] == ["https://a.example/p.json"]
    assert found({"header": {"tdm-reservation": ["0"]}}, reserved) == frozenset()
    assert found({"meta": {"tdm-reservation": ["1"]}}, free) == {"tdm"}
    for one in ("1", "1.0", '"1"'):
        site = robots.parse_tdmrep(f'\ufeff[{{"location": "/\\ud800", "tdm-reservation": 0}},'
                                   f'{{"location": "/", "tdm-reservation": {one}}}]')  # fmt: skip
        assert robots.say(site, pl.Series(["/a"]), ()).to_list() == ['"tdm-reservation":["1"]']
    for nothing in ("", "{", '{"location": "/", "tdm-reservation": 1}', "[]", "[" * 100_000):
        assert robots.say(robots.parse_tdmrep(nothing), pl.Series(["/a"]), ()).to_list() == [None]


def test_what_a_site_says_of_all_paths_is_said_of_each():
    site = robots.parse_robots("License: https://a.example/l.xml")
    assert robots.say(site, pl.Series(["/a", "/b"]), ("*",)).to_list() == ['"license":["https://a.example/l.xml"]'] * 2


# --- captures beside a source ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "speaks"),
    [
        ("/r/a.example/robots.txt", ("a.example", "robots", "0001-01-01")),
        ("/r/a.example/2026-08-19/robots.txt.gz", ("a.example", "robots", "2026-08-19")),
        ("/r/A.example.txt", ("a.example", "robots", "0001-01-01")),
        ("/r/a.example.2026-08-19.txt", ("a.example", "robots", "2026-08-19")),
        ("/r/a.example_20260819.robots.txt", ("a.example", "robots", "20260819")),
        ("/r/a.example/.well-known/tdmrep.json", ("a.example", "tdmrep", "0001-01-01")),
        ("/r/почта.рф.txt", ("xn--80a1acny.xn--p1ai", "robots", "0001-01-01")),
        ("/r/site/robots.txt", ("*", "robots", "0001-01-01")),
        ("/r/site/2026-08-19/robots.txt", ("*", "robots", "2026-08-19")),
    ],
)
def test_a_plain_file_is_named_for_its_site_and_its_day(path, speaks):
    assert named(path) == speaks


def warc(url, body, day, status="200 OK", kind="text/plain", header=""):
    content = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n{header}\r\n".encode() + body.encode()
    head = (
        f"WARC/1.1\r\nWARC-Type: response\r\nWARC-Target-URI: {url}\r\nWARC-Date: {day}T01:02:03Z\r\n"
        f"Content-Type: application/http; msgtype=response\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content + b"\r\n\r\n"


RECIPE = """
corpus: crawl
holdout: {share: 0}
sources: [{name: web, uri: 'pages.warc', license: CC0-1.0, robots: ['robots/*']}]
filters: [{kind: opt_out}]
"""


def crawl(folder, *pages):
    """Write pages: (address, day)."""
    records = [warc(url, TEXTS[place], day) for place, (url, day) in enumerate(pages)]
    (folder / "pages.warc").write_bytes(b"".join(records))
    (folder / "robots").mkdir()


def verdicts(folder, recipe=RECIPE, store="memory"):
    """Return address → (verdict, detail), as of this moment's captures."""
    begun = ingested(recipe_file(folder, recipe), f"memory://{folder.name}-{store}")
    rows = begun.decide().sort("shard", "position")
    return {row["source_id"]: (row["verdict"], row["detail"]) for row in rows.iter_rows(named=True)}


def test_a_site_that_forbids_training_for_a_path_loses_those_pages_and_no_others(tmp_path: Path) -> None:
    day = "2026-08-20"
    names = ["/", "/closed/a", "/closed/b?x=1", "/closed", "/public/closed/a", "/closed-off"]
    pages = [f"https://a.example{name}" for name in names]
    others = ["https://b.example/closed/a", "http://A.example:80/closed/c", "https://www.a.example/closed/a"]
    crawl(tmp_path, *((url, day) for url in [*pages, *others]))
    (tmp_path / "robots" / "a.warc.gz").write_bytes(
        gzip.compress(
            warc("https://a.example/robots.txt", "User-agent: *\nContent-Usage: /closed/ train-ai=n\n", "2026-08-19")
            + warc("https://b.example/robots.txt", "User-agent: *\nContent-Usage: train-ai=y\n", "2026-08-19")
        )
    )
    recipe, store = recipe_file(tmp_path, RECIPE), f"memory://{tmp_path.name}"
    lost = {url for url, (reason, _) in verdicts(tmp_path).items() if reason == "opt_out.ai_train"}
    assert lost == {pages[1], pages[2], others[1]}
    report = publish_plainly(recipe, store)
    assert report.documents == len(pages) + len(others) - 3
    assert report.steps["filter"].dropped == {"opt_out.ai_train": 3}


def test_a_capture_whose_day_is_none_counts_as_of_an_unknown_day(tmp_path: Path) -> None:
    crawl(tmp_path, *((f"https://{host}.example/x", "2026-08-20") for host in "abc"))
    forbids = "User-agent: *\nContent-Usage: train-ai=n\n"
    (tmp_path / "robots" / "a.example-2026-13-45.txt").write_text(forbids)
    (tmp_path / "robots" / "b.warc").write_bytes(warc("https://b.example/robots.txt", forbids, "0000-08-20"))
    lost = {url for url, (reason, _) in verdicts(tmp_path).items() if reason == "opt_out.ai_train"}
    assert lost == {"https://a.example/x", "https://b.example/x"}


def test_a_rule_that_comes_later_holds_for_text_that_was_read_before(tmp_path: Path) -> None:
    crawl(tmp_path, ("https://a.example/x", "2026-08-20"), ("https://a.example/y", "2026-08-20"))
    file = tmp_path / "robots" / "a.example.txt"
    file.write_text("User-agent: *\nAllow: /\n")
    recipe, store = recipe_file(tmp_path, RECIPE), f"memory://{tmp_path.name}"
    assert publish_plainly(recipe, store).documents == 2
    file.write_text("User-agent: *\nContent-Usage: /x train-ai=n\n")
    begun = ingested(recipe, store)
    assert len(begun.pool.ingested) == 1
    assert publish_plainly(recipe, store).documents == 1
    file.write_text("User-agent: *\nContent-Usage: /x train-ai=y\n")
    assert publish_plainly(recipe, store).documents == 2


def test_the_latest_capture_not_later_than_the_page_counts_else_the_next_and_the_row_tells(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    forbids, allows = ("User-agent: *\nContent-Usage: train-ai=" + answer for answer in "ny")
    crawl(tmp_path, *((f"https://a.example/{day}", day) for day in ("2026-08-01", "2026-08-10", "2026-08-20")))
    captures = [
        warc("https://a.example/robots.txt", forbids, "2026-08-05"),
        warc("https://a.example/robots.txt", allows, "2026-08-15"),
        # An answer of a server at fault tells nothing; that there is no file says that nothing is forbidden.
        warc("https://a.example/robots.txt", forbids, "2026-08-18", status="503 Busy"),
    ]
    (tmp_path / "robots" / "a.warc").write_bytes(b"".join(captures))
    assert verdicts(tmp_path) == {
        "https://a.example/2026-08-01": (
            "opt_out.ai_train",
            "robots.txt (a.example) of 2026-08-05, the first that is known, captured after the page",
        ),
        "https://a.example/2026-08-10": ("opt_out.ai_train", "robots.txt (a.example) of 2026-08-05"),
        "https://a.example/2026-08-20": (None, None),
    }
    assert "sources.0.robots (web): 1 captures of robots.txt or tdmrep.json tell nothing" in caplog.text
    captures.append(warc("https://a.example/robots.txt", "gone", "2026-08-06", status="404 Not Found"))
    (tmp_path / "robots" / "a.warc").write_bytes(b"".join(captures))
    assert [reason for reason, _ in verdicts(tmp_path).values()] == ["opt_out.ai_train", None, None]


def test_pages_without_a_day_are_judged_by_the_last_capture(tmp_path: Path) -> None:
    rows = [
        {"text": TEXTS[place], "url": url} for place, url in enumerate(["https://a.example/x", "https://b.example/x"])
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    (tmp_path / "robots" / "a.example").mkdir(parents=True)
    for day, answer in (("2026-08-05", "y"), ("2026-08-15", "n")):
        folder = tmp_path / "robots" / "a.example" / day
        folder.mkdir()
        (folder / "robots.txt").write_text(f"User-agent: *\nContent-Usage: train-ai={answer}")
    (tmp_path / "robots" / "tdmrep.json").write_text('[{"location": "/", "tdm-reservation": 1}]')
    recipe = RECIPE.replace("pages.warc", "rows.jsonl").replace("robots/*", "robots/**/*.[tj]*")
    begun = ingested(recipe_file(tmp_path, recipe), f"memory://{tmp_path.name}")
    told = begun.decide().sort("row").select("verdict", "detail").rows()
    assert told[0][0] == "opt_out.tdm"
    assert "robots.txt (a.example) of 2026-08-15, the last that is known; the page has no day" in told[0][1]
    # A file that names no host speaks for all hosts of its source.
    assert told[1] == (
        "opt_out.tdm",
        "tdmrep.json (b.example) of an unknown day, the last that is known; the page has no day",
    )


def test_captures_that_are_not_there_are_refused_at_once(tmp_path: Path) -> None:
    crawl(tmp_path, ("https://a.example/x", "2026-08-20"))
    for pattern, problem in (("robots/*.warc", "matches no file"), ("s3://b/r.warc", "not on this machine")):
        recipe = recipe_file(tmp_path, RECIPE.replace("robots/*", pattern))
        with pytest.raises(RecipeError, match=rf"sources\.0\.robots: .*{problem}"):
            ingested(recipe, f"memory://{tmp_path.name}")


def test_drafts_and_rows_without_an_address_have_no_site(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps({"text": TEXTS[0], "created": str(datetime.date(2020, 1, 1))}))
    (tmp_path / "robots").mkdir()
    (tmp_path / "robots" / "robots.txt").write_text("User-agent: *\nContent-Usage: train-ai=n")
    begun = ingested(recipe_file(tmp_path, RECIPE.replace("pages.warc", "rows.jsonl")), f"memory://{tmp_path.name}")
    assert begun.decide()["verdict"].to_list() == [None]
