"""Telling: who hears of a night that needs somebody, by blocks of Prefect that the user has made."""

from prefect.client.orchestration import SyncPrefectClient
from prefect.exceptions import ObjectNotFound

from cuvee.deployments import definitions, register
from cuvee.deployments.register import Pool

BLOCK = "cuvee"


def apply(client: SyncPrefectClient, pool: Pool) -> tuple[str, ...]:
    """Make or update an automation for each block called `cuvee` that can tell; return these blocks, as TYPE/NAME."""
    found = []
    for block_type in definitions.block_types():
        block = _block(client, block_type)
        if block:
            register.apply_automation(client, definitions.notification(block_type, block))
            found.append(f"{block_type}/{BLOCK}")
    mail_type = definitions.mail_block_type()
    if _block(client, mail_type):
        mail = definitions.mail()
        register.take_turns(client, definitions.POOL, mail.queue)
        deployment = register.apply(client, mail, pool)
        register.apply_automation(client, definitions.mail_automation(str(deployment)))
        found.append(f"{mail_type}/{BLOCK}")
    return tuple(found)


def _block(client: SyncPrefectClient, block_type: str) -> str | None:
    try:
        return str(client.read_block_document_by_name(BLOCK, block_type).id)
    except ObjectNotFound:
        return None
