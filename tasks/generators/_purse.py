"""Purse: what is left of a budget while a generator asks.

A plan is made so that a budget holds at the most that its requests should cost. An endpoint that counts more tokens for
a text empties the purse early, and then nothing more is sent: no budget is passed by more than what is in flight.
"""

from dataclasses import dataclass

from cuvee.tasks.generators._journal import Outcome

# Why a request was not sent.
SPENT = "budget_spent"


@dataclass
class Purse:
    """left: US dollars; sent_price, received_price: of a token; most: tokens sent and received of an answer that does
    not count them.
    """

    left: float
    sent_price: float
    received_price: float
    most: tuple[float, float]

    @property
    def is_empty(self) -> bool:
        """Whether nothing more should be sent."""
        return self.left <= 0

    def pay(self, outcome: Outcome) -> None:
        """Take out what an answer cost; where there was none, nothing is."""
        if outcome.body is not None:
            sent = self.most[0] if outcome.prompt_tokens is None else outcome.prompt_tokens
            received = self.most[1] if outcome.completion_tokens is None else outcome.completion_tokens
            self.left -= sent * self.sent_price + received * self.received_price
