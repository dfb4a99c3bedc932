"""Mail of a run that needs somebody, by prefect-email, to a real SMTP server on loopback."""

import socketserver
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest
from prefect.variables import Variable
from prefect_email import EmailServerCredentials

from cuvee.flows import mail
from cuvee.schemas.errors import RecipeError, RetryableError


class Postbox(socketserver.ThreadingTCPServer):
    """Takes mail as RFC 5321 has it, without checks."""

    daemon_threads = True

    def __init__(self) -> None:
        self.got: list[str] = []
        super().__init__(("127.0.0.1", 0), _Taking)


class _Taking(socketserver.StreamRequestHandler):
    server: Postbox

    def handle(self) -> None:
        self.wfile.write(b"220 here\r\n")
        while line := self.rfile.readline():
            word = line[:4].upper()
            if word == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                lines = []
                while (text := self.rfile.readline()) != b".\r\n":
                    lines.append(text.decode())
                self.server.got.append("".join(lines))
            self.wfile.write(b"221 bye\r\n" if word == b"QUIT" else b"250 well\r\n")
            if word == b"QUIT":
                return


@pytest.fixture
def postbox(prefect_api: Path) -> Iterator[Postbox]:
    with Postbox() as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def test_a_mail_goes_to_the_named_address_and_its_markup_is_inert(postbox: Postbox) -> None:
    with pytest.raises(RecipeError, match="there is no block email-server-credentials/cuvee"):
        mail.send("night", "words")
    server = EmailServerCredentials(smtp_server="127.0.0.1", smtp_port=postbox.server_address[1], smtp_type="INSECURE")
    server.save("cuvee", overwrite=True)
    with pytest.raises(RecipeError, match="prefect variable set cuvee_mail_to"):
        mail.send("night", "words")
    Variable.set("cuvee_mail_to", "somebody@example.org", overwrite=True)
    assert mail.send("library night: Failed", "<script>x</script>") == "somebody@example.org"
    (letter,) = postbox.got
    assert "Subject: library night: Failed" in letter
    assert "&lt;script&gt;" in letter
    postbox.shutdown()
    postbox.server_close()
    with pytest.raises(RetryableError, match=r"the mail server 127\.0\.0\.1 did not take the mail"):
        mail.send("night", "words")
