"""Mail: tell somebody of a run by SMTP, with the block `email-server-credentials/cuvee` of prefect-email."""

import asyncio
from html import escape

from prefect import flow
from prefect.variables import Variable

from cuvee.flows import outcome
from cuvee.schemas.errors import RecipeError, RetryableError

BLOCK = "cuvee"
TO = "cuvee_mail_to"  # a Prefect variable: addresses, separated by commas


@flow(name="mail", persist_result=False)
def mail(subject: str, body: str) -> str:
    """Send a mail.

    Args:
        subject: Its subject.
        body: Its text.
    """
    return outcome.told(lambda: send(subject, body), lambda to: ("Sent", f"Sent to {to}"))


def send(subject: str, body: str) -> str:
    """Send a mail to the addresses of the variable, else to the block's user; return them.

    Raises RecipeError without prefect-email, block or addressee, RetryableError where the server does not take it.
    """
    try:
        from prefect_email import EmailServerCredentials, email_send_message
    except ImportError as error:
        raise RecipeError("mail needs a package of its own: pip install 'cuvee[mail]'") from error
    try:
        server = EmailServerCredentials.load(BLOCK)
    except ValueError as error:
        raise RecipeError(f"there is no block email-server-credentials/{BLOCK}: {error}") from error
    to = str(Variable.get(TO, default=None) or server.username or "")
    if not to:
        raise RecipeError(f"nobody is named: prefect variable set {TO} somebody@example.org")
    words = {
        "msg": f"<pre>{escape(body)}</pre>",
        "msg_plain": body,
        "email_to": to,
        "email_from": server.username or to,
    }
    try:
        asyncio.run(email_send_message.fn(subject=subject, email_server_credentials=server, **words))
    except Exception as error:  # smtplib, ssl and the socket each have their own
        raise RetryableError(f"the mail server {server.smtp_server} did not take the mail: {error}") from error
    return to
