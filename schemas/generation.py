"""What a generation plan would send, for people to look at before anything is sent."""

from pydantic import Field

from cuvee.schemas.base import Frozen


class SamplePrompt(Frozen):
    """One request of a plan in full. messages: (role, content) in their order."""

    kind: str
    prompt: str
    messages: tuple[tuple[str, str], ...]


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
