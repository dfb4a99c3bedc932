"""Licences: many spellings, one expression; and what it allows."""

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cuvee.schemas.errors import RecipeError
from cuvee.schemas.licenses import _ALIASES, _REVIEWED, allows_derivatives, alternatives, spdx
from cuvee.schemas.spdx_list import LICENSES, REPLACED

GATHERED = pl.read_csv(Path(__file__).parent / "licence_spellings.tsv", separator="\t", quote_char=None)
INDEX = Path(__file__).parents[2] / "shared" / "corpora" / "index.csv"

SPELLINGS = {
    "MIT": [
        "MIT", "mit", "MIT License", "The MIT License (MIT)", "License :: OSI Approved :: MIT License", "Expat",
        "https://opensource.org/licenses/MIT", "MIT/X11",
    ],
    "Apache-2.0": [
        "Apache 2.0", "apache-2.0", "Apache License, Version 2.0", "The Apache License, Version 2.0", "Apache v2",
        "https://www.apache.org/licenses/LICENSE-2.0.txt",
    ],
    "BSD-3-Clause": ["BSD-3-Clause", "BSD 3-Clause", "3-Clause BSD License", "New BSD", "BSD (3-clause)"],
    "BSD-2-Clause": ["Simplified BSD License", "bsd-2-clause"],
    "CC-BY-4.0": [
        "CC BY 4.0", "cc-by-4.0", "Creative Commons Attribution 4.0 International", "CC-BY 4.0",
        "https://creativecommons.org/licenses/by/4.0/", "http://creativecommons.org/licenses/by/4.0/legalcode.de",
    ],
    "CC-BY-SA-3.0": ["CC BY-SA 3.0", "Creative Commons Attribution-ShareAlike 3.0 Unported",
                     "https://creativecommons.org/licenses/by-sa/3.0/fr/"],
    "CC-BY-SA-3.0-DE": ["https://creativecommons.org/licenses/by-sa/3.0/de/"],
    "CC-BY-NC-ND-4.0": ["Attribution-NonCommercial-NoDerivatives 4.0 International", "cc-by-nc-nd-4.0"],
    "CC0-1.0": ["CC0", "cc0-1.0", "CC0 1.0 Universal", "https://creativecommons.org/publicdomain/zero/1.0/",
                "License :: CC0 1.0 Universal (CC0 1.0) Public Domain Dedication"],
    "LicenseRef-Public-Domain": ["Public domain", "public domain", "US public domain", "License :: Public Domain"],
    "CC-PDM-1.0": ["https://creativecommons.org/publicdomain/mark/1.0/", "Public Domain Mark 1.0"],
    "LicenseRef-Proprietary": ["Proprietary", "License :: Other/Proprietary License", "All rights reserved."],
    "PSF-2.0": ["PSF-2.0", "Python Software Foundation License"],
    "GPL-3.0-or-later": ["GPLv3+", "GPL-3.0+", "GNU General Public License v3 or later (GPLv3+)",
                         "GNU GPL version 3 or any later version", "GPL-3.0-or-later"],
    "GPL-2.0-only": ["GPL-2.0", "GNU General Public License v2 (GPLv2)", "GNU GPL v2"],
    "GPL-1.0-or-later": ["GPL", "License :: OSI Approved :: GNU General Public License (GPL)"],
    "LGPL-3.0-or-later": ["GNU Lesser General Public License v3 or later (LGPLv3+)"],
    "MPL-2.0": ["Mozilla Public License 2.0 (MPL 2.0)"],
    "Zlib": ["License :: OSI Approved :: zlib/libpng License"],
    "ISC": ["ISC License (ISCL)"],
    "MIT OR Apache-2.0": ["MIT OR Apache-2.0", "MIT/Apache-2.0", "MIT or Apache 2.0", "(MIT OR Apache-2.0)"],
    "MIT AND Apache-2.0": ["MIT and Apache-2.0"],
    "LicenseRef-Public-Domain OR CC0-1.0": ["Public domain / CC0-1.0 (per PEP)"],
    "Apache-2.0 WITH LLVM-exception OR MIT": ["apache-2.0 WITH LLVM-exception OR MIT"],
    "(MIT OR GPL-2.0-or-later) AND BSD-2-Clause": ["(MIT OR GPL-2.0+) AND BSD-2-Clause"],
    "GPL-3.0-or-later OR MIT": ["GPL-3.0 or later OR MIT"],
    "LicenseRef-Our-Terms": ["LicenseRef-Our-Terms"],
    "unknown": [None, "", "  ", "unknown", "UNKNOWN", "none", "NONE", "NOASSERTION", "other", "none stated (ABC 2006)",
                "see LICENSE", "Dual License", "CC BY",
                "BSD License", "License :: OSI Approved :: Apache Software License",
                "MIT OR Something", "Free for non-commercial use", "MIT OR",
                "AND", "x" * 5000, "MIT " * 100],
}  # fmt: skip


@pytest.mark.parametrize(("expected", "name"), [(each, name) for each, names in SPELLINGS.items() for name in names])
def test_a_spelling_means_its_expression(expected, name):
    assert spdx(name) == expected


@pytest.mark.parametrize("row", range(GATHERED.height))
def test_a_spelling_that_was_gathered_means_its_expression_or_is_unknown(row):
    """From the copyright files of a Debian machine, the metadata of Python packages, SPDX's list, and such as restrict,
    negate, or name two.
    """
    expected, spelling = GATHERED.row(row)
    assert spdx(spelling) == expected


def test_every_identifier_of_spdx_means_itself_in_any_case_and_one_given_up_its_successor():
    assert {name: (spdx(name), spdx(name.lower()), spdx(name.upper())) for name in LICENSES} == {
        name: (name, name, name) for name in LICENSES
    }
    assert {name: spdx(name) for name in REPLACED} == REPLACED
    assert _REVIEWED <= LICENSES


@pytest.mark.parametrize(("expected", "name"), [(each, name) for each, names in _ALIASES.items() for name in names])
def test_no_name_of_a_licence_stands_for_another(expected, name):
    assert spdx(name) == expected
    for restricted in (f"{name} (research only)", f"not {name}", f"{name}, ISC", f"{name} ISC", f"{name} 非商用"):
        assert spdx(restricted) == "unknown"


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("MIT", [{"MIT"}]),
        ("unknown", [{"unknown"}]),
        ("MIT OR Apache-2.0", [{"MIT"}, {"Apache-2.0"}]),
        ("MIT AND Apache-2.0", [{"MIT", "Apache-2.0"}]),
        ("MIT AND ISC OR Zlib", [{"MIT", "ISC"}, {"Zlib"}]),
        ("(MIT OR ISC) AND Zlib", [{"MIT", "Zlib"}, {"ISC", "Zlib"}]),
        ("MIT OR (ISC OR MIT)", [{"MIT"}, {"ISC"}]),
        ("GPL-2.0-only WITH Classpath-exception-2.0", [{"GPL-2.0-only WITH Classpath-exception-2.0"}]),
    ],
)
def test_the_choices_of_an_expression_are_listed(expression, expected):
    assert alternatives(expression) == [frozenset(choice) for choice in expected]


@pytest.mark.parametrize("expression", ["", "MIT OR", "(MIT", "MIT)", "MIT MIT", "OR", "MIT License", "(" * 5000])
def test_a_malformed_expression_is_refused(expression):
    with pytest.raises(RecipeError, match="licence expression"):
        alternatives(expression)


@pytest.mark.parametrize(
    ("expression", "derivatives"),
    [
        ("MIT", True),
        ("LicenseRef-Public-Domain", True),
        ("CC-BY-NC-SA-4.0", True),
        ("CC-BY-ND-4.0", False),
        ("CC-BY-ND-4.0 OR CC-BY-SA-4.0", True),
        ("CC-BY-SA-3.0 OR GFDL-1.3-only", True),
        ("CC-BY-NC-4.0 OR MIT", True),
        ("CC-BY-NC-4.0 AND MIT", True),
        ("CC-BY-ND-4.0 AND MIT", False),
        ("GPL-2.0-only WITH Classpath-exception-2.0", True),
        ("unknown", False),
        ("LicenseRef-Proprietary", False),
        ("LicenseRef-Our-Terms", False),
        ("LicenseRef-Proprietary OR MIT", True),
        ("MPL-1.1+", True),
        # Of SPDX's list, but its terms were not looked up.
        ("Adobe-Glyph", False),
    ],
)
def test_what_an_expression_allows(expression, derivatives):
    assert allows_derivatives(expression) is derivatives


names = st.sampled_from([name for each in SPELLINGS.values() for name in each if name])
pieces = st.lists(st.one_of(names, st.sampled_from(["OR", "AND", "WITH", "or", "(", ")", "/", " ", "+"])), max_size=9)


@given(st.one_of(pieces.map(" ".join), pieces.map("".join), st.text(max_size=50)))
@settings(max_examples=500, deadline=None)
def test_any_text_gives_an_expression_that_means_itself(text):
    expression = spdx(text)
    assert spdx(expression) == expression
    assert alternatives(expression)
    assert isinstance(allows_derivatives(expression), bool)


@pytest.mark.skipif(not INDEX.exists(), reason="the shared corpora are not here")
def test_the_licences_of_real_corpora_are_known():
    found = {name: spdx(name) for name in pl.read_csv(INDEX)["license"].unique()}
    assert [name for name, expression in found.items() if expression == "unknown"] == ["none stated (ABC 2006)"]
