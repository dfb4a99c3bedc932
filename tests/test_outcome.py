"""How a run ends, as its page in Prefect's UI says it, and as its callers get it."""

from pathlib import Path

import pytest
from prefect import flow

from cuvee.flows import outcome
from cuvee.schemas.errors import CuveeError, GateError, RecipeError
from cuvee.schemas.report import Finding, RunReport


def report(**said: object) -> RunReport:
    figures = {"documents": 9, "amount": 211_497, "unit": "words", "human_share": 0.8041, "floor": 0.8, "steps": {}}
    return RunReport.model_validate({"corpus": "library", "version": 7, "published": True, **figures, **said})


def test_a_run_is_named_by_what_it_did() -> None:
    assert outcome.of_report(report()) == ("Published", "Published library@v0007: 211,497 words, human .804")
    assert outcome.of_report(report(published=False)) == ("Nothing new", "Nothing new: library@v0007 stands")
    assert outcome.of_report(report(published=False, plan=True))[0] == "Planned"
    findings = (Finding(kind="k", subject="s", message="m"), Finding(kind="k", subject="s", message="m", note=True))
    name, message = outcome.of_report(report(findings=findings, human_share=None))
    assert name == "Published with findings"
    assert message.endswith("human none counted; 1 finding to look at")
    assert outcome.of_report(report(findings=findings[1:]))[0] == "Published"
    assert outcome.of_error(GateError("shortage of human text")) == ("Stopped", "Stopped: shortage of human text")
    waits = GateError("demo@candidate-1a2b3c waits for a reviewer: cuvee review demo@candidate-1a2b3c")
    assert outcome.of_error(waits)[0] == "Waits for review"
    assert outcome.of_error(RecipeError("no such key")) == ("Failed", "no such key")


def test_callers_get_the_result_or_the_error_and_the_page_its_words(prefect_api: Path) -> None:
    @flow(name="ends", persist_result=False)
    def ends(error: str = "") -> RunReport:
        def work() -> RunReport:
            if error:
                raise GateError(error) if error != "bug" else ValueError(error)
            return report()

        return outcome.told(work, outcome.of_report)

    assert ends() == report()
    state = ends(return_state=True)
    assert (state.name, state.is_completed(), state.message) == ("Published", True, outcome.of_report(report())[1])
    with pytest.raises(GateError, match="too little"):
        ends("too little")
    state = ends("too little", return_state=True)
    assert (state.name, state.is_failed(), state.message) == ("Stopped", True, "Stopped: too little")
    with pytest.raises(ValueError, match="bug"):
        ends("bug")
    assert issubclass(GateError, CuveeError)
