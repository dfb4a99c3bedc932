"""What a generation plan would send, for people to look at before anything is sent."""

from pydantic import Field

from cuvee.schemas.base import Frozen


class SamplePrompt(Frozen):
    """One request of a plan in full. messages: (role, content) in their order."""

    kind: str
    prompt: str
    messages: tuple[tuple[str, str], ...]


class Asked(Frozen):
    """What a run was answered for a generator: requests that ended, and their tokens, null where one did not tell.

    cost_usd: null without prices or tokens; seconds: from the beginning of a round to its last answer, waits and all.
    """

    requests: int
    prompt_tokens: int | None
    completion_tokens: int | None
    cost_usd: float | None
    seconds: float

    @property
    def tokens_a_second(self) -> float | None:
        """Tokens written, by all requests together."""
        if self.completion_tokens is None or not self.seconds:
            return None
        return round(self.completion_tokens / self.seconds, 1)

    def as_line(self) -> str:
        """Tell pace and money, as far as they are known."""
        pace, cost = self.tokens_a_second, self.cost_usd
        told = [
            f"{self.requests:,} requests",
            f"{pace:,.0f} tokens/s" if pace else "",
            "" if cost is None else f"{cost:.4f} USD",
        ]
        return ", ".join(filter(None, told))

    def plus(self, earlier: "Asked | None") -> "Asked":
        """Add what an earlier round of the run asked."""
        if earlier is None:
            return self
        sums = {
            name: None if None in (mine, theirs := getattr(earlier, name)) else mine + theirs
            for name, mine in self.model_dump().items()
        }
        return Asked.model_validate(sums)


class Outlook(Frozen):
    """What one generator would send now; requests that the journal answers are not counted.

    judgements: requests to the judge, at least; each revision asked for adds one of each kind. tokens: estimates for
    drafts and first judgements, from words. cost_usd: of these, null where the recipe gives no prices.
    """

    requests: int
    judgements: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float | None = None
    samples: tuple[SamplePrompt, ...] = Field(())

    def as_lines(self, name: str, samples: bool = True) -> list[str]:
        """Tell the outlook of the generator `name` in a few lines, with the sample prompts in full below."""
        cost = "cost unknown (no prices)" if self.cost_usd is None else f"about {self.cost_usd:.4f} USD"
        judged = f" and {self.judgements:,} judgements" if self.judgements else ""
        lines = [
            f"generator {name} would send {self.requests:,} requests{judged}: about {self.prompt_tokens:,} tokens out, "
            f"{self.completion_tokens:,} back, {cost}"
        ]
        for sample in self.samples if samples else ():
            lines.append(f"--- {sample.kind} ({sample.prompt})")
            lines += [f"[{role}]\n{content}" for role, content in sample.messages]
        return lines
